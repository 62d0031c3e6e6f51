"""Labels out and back in: every column of every row, once; what disagrees stays as it is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_rows import AWKWARD, fill, many_labels, rows_of
from store_rows import SETTINGS, clip, label, pair

from densedpo.errors import UserError
from densedpo.store.exchange import export_opinions, import_opinions
from densedpo.store.exchange.add import SHOWN
from densedpo.store.project import BATCH, Project

FORMATS: tuple[Literal["parquet", "jsonl"], ...] = ("parquet", "jsonl")


@pytest.fixture
def other(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "other", SETTINGS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_round_trip_loses_nothing(
    project: Project, other: Project, tmp_path: Path, format: Literal["parquet", "jsonl"]
) -> None:
    labels = fill(project)
    assert export_opinions(other, tmp_path / "empty", format).labels == 0
    assert export_opinions(project, tmp_path / "file", format).labels == len(labels)
    for target in (other, project):
        report = import_opinions(target, tmp_path / "file", format)
        new = target is other
        assert (report.labels, report.pairs, report.clips) == ((len(labels), 3, 2) if new else (0, 0, 0))
        assert (report.known, report.conflicts) == (0 if new else len(labels), 0)
        assert import_opinions(target, tmp_path / "empty", format).known == 0
    clips, pairs, mine = rows_of(project)
    labelled = {each.pair for each in mine}
    assert rows_of(other) == (clips, [each for each in pairs if each.id in labelled], mine)  # `created` too
    assert export_opinions(other, tmp_path / "again", format).labels == len(labels)
    if format == "jsonl":
        assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()
    else:
        assert pq.read_table(tmp_path / "again").equals(pq.read_table(tmp_path / "file"))


def test_what_a_reader_finds(project: Project, tmp_path: Path) -> None:
    labels = fill(project)
    export_opinions(project, tmp_path / "file.jsonl", "jsonl")
    export_opinions(project, tmp_path / "file.parquet", "parquet")
    lines = (tmp_path / "file.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    rows = {row["id"]: row for row in map(json.loads, lines)}
    table = {row["id"]: row for row in pq.read_table(tmp_path / "file.parquet").to_pylist()}
    assert rows.keys() == table.keys() == {each.id for each in labels}
    assert [rows[each.id]["stands"] for each in labels] == [False] + [True] * 7
    first = rows[labels[0].id]
    assert first["pair_prompt"] == first["clip_caption"] == first["comment"] == AWKWARD
    assert first["pair_recipe"] == {"prompt": "a red circle", "seed": 0}
    assert first["confidence"] == 0.1 + 0.2
    assert [rows[labels[-1].id][name] for name in ("pair_clip", "clip_caption", "assignment")] == [None] * 3
    assert table[labels[0].id] == {**first, "pair_recipe": '{"prompt":"a red circle","seed":0}'}


def test_pairs_without_their_videos_are_told(project: Project, other: Project, tmp_path: Path) -> None:
    fill(project)
    export_opinions(project, tmp_path / "file", "jsonl")
    assert import_opinions(other, tmp_path / "file", "jsonl").notes == [
        "3 pairs came without their videos; copy the folder media of the project that they come from"
    ]
    assert import_opinions(other, tmp_path / "file", "jsonl").notes == []


def test_conflicts_are_left_as_they_are_here(project: Project, other: Project, tmp_path: Path) -> None:
    labels = fill(project)
    export_opinions(project, tmp_path / "file", "jsonl")
    first, second = clip(0, caption=AWKWARD), clip(1, caption="another caption")
    other.add_clips([first, second])
    other.add_pairs([pair(0, clip=first.id, prompt=AWKWARD), pair(2, near_identical=True, eta=1 / 3, media_a="e" * 64)])
    other.add_labels([replace(labels[2], choice="a")])
    before = rows_of(other)
    report = import_opinions(other, tmp_path / "file", "jsonl")
    assert sorted(report.told) == sorted(
        [
            f"clip {second.id} is here with another caption; it was left out",
            f"pair {pair(1).id} refers to {second.id}, which was left out; it was left out",
            f"label {labels[3].id} refers to {pair(1).id}, which was left out; it was left out",
            f"pair {pair(2).id} is here with another media_a; it was left out",
            *(f"label {each.id} refers to {pair(2).id}, which was left out; it was left out" for each in labels[4:]),
            f"label {labels[2].id} is here with another choice; it was left out",
        ]
    )
    assert (report.conflicts, report.labels, report.known) == (len(report.told), 2, 0)
    after = rows_of(other)
    assert after[:2] == before[:2]
    assert {each.id: each for each in after[2]} == {each.id: each for each in (*before[2], *labels[:2])}


def test_a_correction_of_what_is_not_there_is_left_out(project: Project, tmp_path: Path) -> None:
    """Whatever the order of the lines, and also for corrections of corrections; the labels that were here stay."""
    project.add_pairs([pair()])
    kept = label(pair(), 1)
    project.add_labels([kept])
    chain = [label(pair())]
    for _ in range(4):
        chain.append(label(pair(), supersedes=chain[-1].id))
    source = Project.create(tmp_path / "source", SETTINGS)
    source.add_pairs([pair()])
    source.add_labels(chain)
    export_opinions(source, tmp_path / "file", "jsonl")
    lines = (tmp_path / "file").read_text().splitlines(keepends=True)
    (tmp_path / "file").write_text("".join(line for line in lines if json.loads(line)["id"] != chain[1].id))
    report = import_opinions(project, tmp_path / "file", "jsonl")
    assert (report.labels, report.conflicts) == (1, 3)
    assert report.told == [
        f"label {each.id} supersedes one that is not here; it was left out" for each in (chain[2], chain[3], chain[4])
    ]
    assert {each.id for each in project.labels(superseded=True)} == {kept.id, chain[0].id}


def test_many_labels_come_in_batches_and_few_conflicts_are_told(project: Project, tmp_path: Path) -> None:
    project.add_pairs([pair()])
    labels = many_labels(pair(), 2 * BATCH + 100)
    project.add_labels(labels)
    for format in FORMATS:
        export_opinions(project, tmp_path / "file", format)
        other = Project.create(tmp_path / format, SETTINGS)
        other.add_pairs([pair()])
        other.add_labels([replace(each, choice="b") for each in labels[:40]])
        report = import_opinions(other, tmp_path / "file", format)
        assert (report.labels, report.known, report.conflicts) == (len(labels) - 40, 0, 40)
        assert len(report.told) == SHOWN
        assert sum(each.choice == "b" for each in other.labels()) == 40


def test_parquet_as_other_programs_write_it(project: Project, other: Project, tmp_path: Path) -> None:
    """pandas makes doubles of integers with gaps, and other libraries their own kinds of text."""
    labels = fill(project)
    export_opinions(project, tmp_path / "file", "parquet")
    table = pq.read_table(tmp_path / "file")
    for name, kind in (("segment", pa.float64()), ("comment", pa.large_string()), ("choice", pa.string())):
        place = table.column_names.index(name)
        column = table.column(name).cast(kind)
        table = table.set_column(place, name, column.dictionary_encode() if name == "choice" else column)
    pq.write_table(table.select(sorted(table.column_names)), tmp_path / "theirs", row_group_size=3)
    assert import_opinions(other, tmp_path / "theirs", "parquet").labels == len(labels)
    assert list(other.labels()) == list(project.labels())
    place = table.column_names.index("segment")
    table = table.set_column(place, "segment", pa.array(np.full(len(labels), 0.5)))
    pq.write_table(table, tmp_path / "theirs")
    with pytest.raises(UserError, match=r"after row 0: column segment must hold int32 .*; mend that and import again"):
        import_opinions(other, tmp_path / "theirs", "parquet")


def test_a_file_is_replaced_whole_or_not_at_all(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(project)
    path = tmp_path / "labels.jsonl"
    path.write_text("what was there")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("densedpo.store.exchange.opinions.put_in_place", full)
        with pytest.raises(UserError, match=r"disk is full, so .*labels\.jsonl was not written"):
            export_opinions(project, path, "jsonl")
    assert path.read_text() == "what was there"
    assert [each.name for each in tmp_path.glob(".labels*")] == []
    with pytest.raises(UserError, match=r"there is no folder .*; make it first"):
        export_opinions(project, tmp_path / "no" / "file", "parquet")
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        export_opinions(project, tmp_path, "parquet")
