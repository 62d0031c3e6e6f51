"""VideoGen-RewardBench's table of preferences between whole videos (KwaiVGI, `videogen-rewardbench.csv`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from densedpo.errors import UserError
from densedpo.labels.imported.videos import Videos, imported_pair
from densedpo.progress import track
from densedpo.store.exchange import ImportReport, Opinion, add_opinions
from densedpo.store.exchange.files import REST
from densedpo.store.exchange.verdicts import REWARDBENCH_ASPECTS
from densedpo.store.project import Project
from densedpo.store.schema import Label, content_id

ANNOTATOR = "videogen-rewardbench"
NEEDED = ("path_A", "path_B", "prompt")
CHOICES = {"A": "a", "B": "b", "same": "tie"}
NONE = ("", "invalid", "nan")


def import_rewardbench(project: Project, file: Path, videos: Path | None) -> ImportReport:
    """Add a pair for each line of the table, and a label for each verdict that it holds.

    Every line is checked before any video is read. Raises UserError for the first mistake, with its line and column,
    and for a video that is missing or does not fit; no row is added then.
    """
    rows = list(_rows(file))
    taken = Videos(project, videos)
    opinions: list[Opinion] = []
    for line, row in track(rows, description="import"):
        opinions += _opinions(project, f"{file}, line {line}", row, taken)
    report = add_opinions(project, opinions)
    report.notes.append("only the beginning of each video, as long as the project's clips, is in the project")
    if empty := sum(row[name] in NONE for _, row in rows for name in REWARDBENCH_ASPECTS if name in row):
        report.notes.append(f"{empty} verdicts are empty or invalid and made no label")
    return report


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, row). Raises UserError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            _check_header(file, list(reader.fieldnames or []))
            for row in reader:
                _check(f"{file}, line {reader.line_num}", row)
                yield reader.line_num, row
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is no CSV table in UTF-8 ({error}); {REST}") from None


def _check_header(file: Path, names: list[str]) -> None:
    for name in NEEDED:
        if name not in names:
            raise UserError(f"{file}, line 1: the column {name} is missing; {REST}")
    if not set(names) & REWARDBENCH_ASPECTS.keys():
        raise UserError(f"{file}, line 1: none of the columns {', '.join(REWARDBENCH_ASPECTS)} is there; {REST}")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{file}, line 1: the column {repeated[0]} is there twice; {REST}")


def _check(place: str, row: dict[str, str]) -> None:
    if None in row or None in row.values():
        raise UserError(f"{place}: the line has another number of columns than the first line; {REST}")
    for name in NEEDED:
        if not row[name].strip() or "\0" in row[name]:
            raise UserError(f"{place}, column {name}: there is no text; {REST}")
    if row["path_A"] == row["path_B"]:
        raise UserError(f"{place}, column path_B: it is the same video as path_A; {REST}")
    for name in REWARDBENCH_ASPECTS:
        if name in row and row[name] not in CHOICES and row[name] not in NONE:
            raise UserError(f"{place}, column {name}: {row[name]!r:.40} must be A, B, same or empty; {REST}")


def _opinions(project: Project, place: str, row: dict[str, str], videos: Videos) -> Iterator[Opinion]:
    try:
        a, b = videos.take(row["path_A"]), videos.take(row["path_B"])
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    models = {side: row[f"{side}_model"] for side in "AB" if f"{side}_model" in row}
    pair = imported_pair(project, row["prompt"], a, b, models)
    for name, aspect in REWARDBENCH_ASPECTS.items():
        if row.get(name, "") not in NONE:
            label = Label.make(
                pair=pair.id,
                seen=content_id(a.source, b.source),
                segment=None,
                segment_seconds=project.settings.segment_seconds,
                choice=CHOICES[row[name]],
                aspect=aspect,
                annotator_kind="human",
                annotator=ANNOTATOR,
            )
            yield Opinion(None, pair, label)
