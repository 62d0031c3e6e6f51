"""Every mistake in a file is told in one sentence with line, column and remedy, and then nothing is added."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_rows import fill
from store_rows import SETTINGS

from densedpo.errors import UserError
from densedpo.store.exchange import export_opinions, import_opinions
from densedpo.store.exchange.rows import COLUMNS
from densedpo.store.project import Project
from densedpo.store.schema import NATURAL_KEY, label_id, recipe_id

Row = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of an export, in its order: the first three are about the pair that has a clip."""
    folder = tmp_path_factory.mktemp("exchange")
    full = Project.create(folder / "project", SETTINGS)
    fill(full)
    export_opinions(full, folder / "file", "jsonl")
    rows = [json.loads(line) for line in (folder / "file").read_text(encoding="utf-8").split("\n")[:-1]]
    return sorted(rows, key=lambda row: (row["pair_clip"] is None, row["id"]))


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def with_id(row: Row) -> Row:
    return {**row, "id": label_id(**{key: row[key] for key in NATURAL_KEY})}


def with_recipe(row: Row, recipe: Any) -> Row:
    return with_id({**row, "pair": recipe_id(recipe), "pair_recipe": recipe})


CHANGES: list[tuple[Callable[[Row], Row], str]] = [
    (lambda row: row | {"choice": "left"}, "choice: input should be 'a', 'b', 'tie' or 'skip', got 'left'"),
    (lambda row: row | {"choice": None}, "choice: input should be .*, got None"),
    (lambda row: row | {"segment": -1}, "segment: input should be greater than or equal to 0, got -1"),
    (lambda row: row | {"segment": 1.5}, "segment: input should be a valid integer, got 1.5"),
    (lambda row: row | {"segment": True}, "segment: input should be a valid integer, got True"),
    (lambda row: row | {"milliseconds": 2**31}, "milliseconds: input should be less than or equal to 2147483647"),
    (lambda row: row | {"milliseconds": 10**40}, "milliseconds: "),
    (lambda row: row | {"confidence": 1.01}, "confidence: input should be less than or equal to 1, got 1.01"),
    (lambda row: row | {"confidence": float("nan")}, "confidence: input should be a finite number, got nan"),
    (lambda row: row | {"segment_seconds": 0}, "segment_seconds: input should be greater than 0, got 0"),
    (lambda row: row | {"segment_seconds": "1"}, "segment_seconds: input should be a valid number, got '1'"),
    (lambda row: row | {"order_shown": "aa"}, "order_shown: input should be 'ab' or 'ba', got 'aa'"),
    (lambda row: row | {"annotator_kind": "dog"}, "annotator_kind: input should be 'human'"),
    (lambda row: row | {"annotator": 7}, "annotator: input should be a valid string, got 7"),
    (lambda row: row | {"comment": "a\0b"}, "comment: holds a zero character, which no database stores"),
    (lambda row: row | {"comment": "\ud800"}, "comment: holds half of a surrogate pair, which no"),
    (lambda row: row | {"created": "yesterday"}, "created: invalid isoformat string"),
    (lambda row: row | {"created": "2026-01-01T00:00:00"}, "created: has no time zone; end it with"),
    (lambda row: row | {"pair": "x"}, "pair: string should match pattern"),
    (lambda row: row | {"id": "0" * 32}, "id 0{32} is not that of a label with these values"),
    (lambda row: row | {"annotator": "somebody else"}, "id .* is not that of a label with these values"),
    (lambda row: row | {"pair_media_a": "../../x"}, "pair_media_a: string should match pattern"),
    (lambda row: row | {"pair_mode": "odd"}, "pair_mode: input should be 'guided', 'independent' or 'imported'"),
    (lambda row: row | {"pair_near_identical": 1}, "pair_near_identical: input should be a valid boolean, got 1"),
    (lambda row: row | {"pair_recipe": []}, "pair_recipe: input should be a valid dictionary"),
    (lambda row: row | {"pair_recipe": {"x": float("inf")}}, "pair_recipe: is no plain JSON object"),
    (lambda row: row | {"pair_recipe": {"seed": 1}}, "pair .* is not the pair that pair_recipe makes"),
    (lambda row: row | {"pair_frames": 17}, "pair_frames is 17, but clip_frames 33; they must agree"),
    (lambda row: row | {"clip_width": 64}, "pair_width is 48, but clip_width 64; they must agree"),
    (lambda row: row | {"clip_fps": 9.0}, "clip_fps is 9, but the project has 8; import into one alike"),
    (lambda row: row | {"clip_split": "test"}, "pair_split is train, but clip_split test; they must agree"),
    (lambda row: row | {"clip_caption": None}, "clip_caption: input should be a valid string, got None"),
    (lambda row: row | {"pair_clip": None}, "clip_media has a value, but pair_clip names no clip; leave it empty"),
    (lambda row: with_id(row | {"segment": 4}), "segment is 4, but the pair has 4 segments, of which the first is 0"),
    (lambda row: {k: v for k, v in row.items() if k != "aspect"}, "aspect is missing; export the labels again, or"),
    (lambda row: row | {"aspekt": "overall"}, "aspekt is no column of a label; take it out"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[message[:40] for _, message in CHANGES])
def test_a_wrong_value(tmp_path: Path, good: list[Row], change: Callable[[Row], Row], message: str) -> None:
    project = Project.create(tmp_path / "project", SETTINGS)
    file = write(tmp_path / "labels.jsonl", [good[1], good[2], change(good[0]), *good[3:]])
    with pytest.raises(UserError, match=rf"^{file}, line 3, column {message}") as caught:
        import_opinions(project, file, "jsonl")
    assert str(caught.value).endswith("; mend that and import again; nothing was added")
    assert "\n" not in str(caught.value)
    assert not list(project.clips()) and not list(project.labels()) and not list(project.events())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "this is no JSON object"),
        ("[1]", r"this is no JSON object, but \[1\]"),
        ('{"id": 1, "id": 2}', r"this is no JSON object \(a key is given twice\)"),
        ("[" * 100_000, "this is no JSON object"),
        ('{"segment": ' + "9" * 5000 + "}", "this is no JSON object"),
        ("{}", "column id is missing"),
    ],
)
def test_a_line_that_is_no_row(tmp_path: Path, good: list[Row], line: str, message: str) -> None:
    project = Project.create(tmp_path / "project", SETTINGS)
    file = write(tmp_path / "labels.jsonl", good)
    file.write_text(file.read_text() + "\n" + line + "\n")  # blank lines count as lines and say nothing
    with pytest.raises(UserError, match=rf"^{file}, line {len(good) + 2}[:,] {message}"):
        import_opinions(project, file, "jsonl")
    assert not list(project.labels())


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", SETTINGS)
    (tmp_path / "file").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="line 1: this is no JSON object"):
        import_opinions(project, tmp_path / "file", "jsonl")
    with pytest.raises(UserError, match=r"is no Parquet file that can be read \(.*\); mend that"):
        import_opinions(project, tmp_path / "file", "parquet")
    with pytest.raises(UserError, match="nothing cannot be read: No such file or directory; check the path"):
        import_opinions(project, tmp_path / "nothing", "parquet")
    with pytest.raises(UserError, match="cannot be read: Is a directory; check the path"):
        import_opinions(project, tmp_path, "jsonl")


def test_a_mistake_late_in_the_file_undoes_what_came_before(project: Project, tmp_path: Path, good: list[Row]) -> None:
    """The first 1,199 rows are more than one batch, and sound."""
    rows = [with_id({**good[0], "annotator": f"ann {number}", "supersedes": None}) for number in range(1200)]
    file = write(tmp_path / "labels.jsonl", [*rows[:-1], {**rows[-1], "choice": "c"}])
    with pytest.raises(UserError, match="line 1200, column choice"):
        import_opinions(project, file, "jsonl")
    assert not list(project.clips()) and not list(project.pairs()) and not list(project.labels())
    assert import_opinions(project, write(file, rows), "jsonl").labels == 1200


def test_wrong_values_in_parquet(tmp_path: Path, good: list[Row]) -> None:
    project = Project.create(tmp_path / "project", SETTINGS)
    rows = [{**row, "pair_recipe": json.dumps(row["pair_recipe"])} for row in good]
    file = tmp_path / "labels.parquet"

    def told(changed: list[Row]) -> str:
        pq.write_table(pa.Table.from_pylist(changed), file)
        with pytest.raises(UserError) as caught:
            import_opinions(project, file, "parquet")
        return str(caught.value)

    assert told([rows[0], rows[1] | {"choice": "c"}]).startswith(f"{file}, row 2, column choice: input should be")
    assert told([rows[0], rows[1] | {"pair_recipe": "{"}]).startswith(f"{file}, row 2, column pair_recipe: this is no")
    assert told([rows[0] | {"pair_recipe": None}]).startswith(f"{file}, row 1, column pair_recipe: input should be a")
    assert told([rows[0] | {"choice": 5}]).startswith(f"{file}, row 1, column choice: input should be")
    assert told([{k: v for k, v in rows[0].items() if k != "seen"}]).startswith(f"{file}: column seen is missing")
    assert told([rows[0] | {"more": 1}]).startswith(f"{file}: column more is no column of a label")
    assert told([rows[0] | {"created": "x"}]).startswith(f"{file}, row 1, column created: invalid")
    assert not list(project.labels())


def test_the_example_rows_are_good(tmp_path: Path, good: list[Row]) -> None:
    """So that each refusal above is for what was changed."""
    project = Project.create(tmp_path / "project", SETTINGS)
    assert all(set(row) == set(COLUMNS) for row in good)
    assert with_recipe(good[-1], good[-1]["pair_recipe"]) == good[-1]
    assert import_opinions(project, write(tmp_path / "file", good), "jsonl").labels == len(good)
