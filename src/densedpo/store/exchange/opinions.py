"""All labels of a project as one Parquet or JSONL file, and back, without loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.store.exchange.add import ImportReport, Opinion, add_opinions
from densedpo.store.exchange.files import REST, read_jsonl, read_parquet, write_jsonl, write_parquet
from densedpo.store.exchange.rows import CLIP_COLUMNS, COLUMNS, LABEL_COLUMNS, PAIR_COLUMNS, RowError, opinion_of
from densedpo.store.people import reading
from densedpo.store.project import BATCH, Project
from densedpo.store.tables import clip, label, pair

Format = Literal["parquet", "jsonl"]
_WRITERS = {"parquet": write_parquet, "jsonl": write_jsonl}
_READERS = {"parquet": read_parquet, "jsonl": read_jsonl}


@dataclass(frozen=True, slots=True)
class Exported:
    """How many labels a file holds."""

    labels: int


def export_opinions(project: Project, path: Path, format: Format) -> Exported:
    """Write every label, superseded ones too, with its pair and clip, as they all are at one moment.

    The same rows give the same file. Raises UserError if the folder is missing or the disk full; the file that was
    there before then stays.
    """
    return Exported(written(path, lambda file: _WRITERS[format](file, _batches(project))))


def import_opinions(project: Project, path: Path, format: Format) -> ImportReport:
    """Add the rows of a file that `export_opinions` wrote, perhaps edited since; as `add_opinions`.

    Raises UserError naming the line and the column of the first mistake; nothing is added then.
    """
    report = add_opinions(project, _opinions(project, path, format))
    if report.without_media:
        told = "pairs came without their videos; copy the folder media of the project that they come from"
        report.notes.append(f"{report.without_media} {told}")
    return report


def written(path: Path, write: Callable[[Path], int]) -> int:
    """Let `write` fill a file that appears at `path` only when whole; what it returns."""
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    temporary = temporary_beside(path)
    try:
        with disk_full_is_clear(path):
            count = write(temporary)
            put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _batches(project: Project) -> Iterator[list[Mapping[str, Any]]]:
    """The rows by pair and label id; one statement, so that all are of one moment."""
    later = label.alias()
    stands = ~sa.exists().where(later.c.supersedes == label.c.id)
    own = {**{name: label.c[name] for name in LABEL_COLUMNS}, "stands": stands}
    own |= {name: pair.c[column] for name, column in PAIR_COLUMNS.items()}
    own |= {name: clip.c[column] for name, column in CLIP_COLUMNS.items()}
    chosen = [own[name].label(name) for name in COLUMNS]
    tables = label.join(pair, label.c.pair == pair.c.id).outerjoin(clip, pair.c.clip == clip.c.id)
    query = sa.select(*chosen).select_from(tables).order_by(label.c.pair, label.c.id)
    with reading(project) as connection:
        found = connection.execution_options(yield_per=BATCH).execute(query).mappings()
        for batch in found.partitions():
            yield [dict(row) for row in batch]


def _opinions(project: Project, path: Path, format: Format) -> Iterator[Opinion]:
    for place, row in _READERS[format](path):
        try:
            yield opinion_of(row, project.settings)
        except RowError as error:
            raise UserError(f"{place}, column {error}; {REST}") from None
