"""Opinions from elsewhere become rows in one transaction; what disagrees is reported, never overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import sqlalchemy as sa

from densedpo.store.people import writing
from densedpo.store.project import BATCH, Project, R
from densedpo.store.schema import Clip, Label, Pair, Row, references_of
from densedpo.store.tables import differing, metadata, values_of
from densedpo.store.tables import label as labels

SHOWN = 20  # conflicts told in words


class Opinion(NamedTuple):
    """A label, the pair that it is about, and the clip from which that was made."""

    clip: Clip | None
    pair: Pair
    label: Label


@dataclass(slots=True)
class ImportReport:
    """What an import did. `known` labels were there already; `conflicts` rows were left out, the first are told."""

    clips: int = 0
    pairs: int = 0
    labels: int = 0
    known: int = 0
    conflicts: int = 0
    told: list[str] = field(default_factory=list)
    without_media: int = 0  # of the new pairs
    notes: list[str] = field(default_factory=list)  # what of the file has no place in a project


def add_opinions(project: Project, opinions: Iterable[Opinion]) -> ImportReport:
    """Add clips, pairs and labels that are not there yet: all of them, or none if anything is raised on the way.

    A row whose id is here with other content is left out and reported, and so is a row that refers to it. Holds
    `BATCH` opinions at a time, and the ids of conflicts.
    """
    report, left_out = ImportReport(), set[str]()
    iterator = iter(opinions)
    with writing(project, "clip", "pair", "label") as connection:
        while batch := list(islice(iterator, BATCH)):
            _add_batch(project, connection, batch, report, left_out)
        _without_orphans(connection, report)
    if report.labels or report.pairs or report.clips:
        project.record("import", labels=report.labels, pairs=report.pairs, conflicts=report.conflicts)
    return report


def _add_batch(
    project: Project, connection: sa.Connection, batch: Sequence[Opinion], report: ImportReport, left_out: set[str]
) -> None:
    clips = _without_repeats(each.clip for each in batch if each.clip is not None)
    report.clips += len(_add(project, connection, clips, report, left_out))
    pairs = _add(project, connection, _without_repeats(each.pair for each in batch), report, left_out)
    report.pairs += len(pairs)
    report.without_media += sum(not _has_media(project, pair) for pair in pairs)
    before = report.conflicts
    added = _add(project, connection, [each.label for each in batch], report, left_out)
    report.labels += len(added)
    report.known += len(batch) - len(added) - (report.conflicts - before)


def _add(
    project: Project, connection: sa.Connection, rows: Sequence[R], report: ImportReport, left_out: set[str]
) -> list[R]:
    """Insert the rows that are new and refer to nothing that was left out."""
    rows = [row for row in rows if row.id not in left_out]
    if not rows:
        return []
    new, clashes = project.compare(rows, connection)
    for here, given in clashes:
        _leave_out(report, left_out, given, f"is here with another {', '.join(differing(here, given))}")
    ready: list[R] = []
    for row in new:
        if obstacles := left_out.intersection(references_of(row)):
            _leave_out(report, left_out, row, f"refers to {obstacles.pop()}, which was left out")
        else:
            ready.append(row)
    if ready:
        connection.execute(sa.insert(metadata.tables[ready[0].table]), [values_of(row) for row in ready])
    return ready


def _without_repeats(rows: Iterable[R]) -> list[R]:
    """Labels of one pair come one after another, each with that pair."""
    kept: list[R] = []
    for row in rows:
        if not kept or kept[-1] != row:
            kept.append(row)
    return kept


def _leave_out(report: ImportReport, left_out: set[str], row: Row, why: str) -> None:
    report.conflicts += 1
    if not isinstance(row, Label):  # a label corrects whatever is here under the id that it supersedes
        left_out.add(row.id)
    if len(report.told) < SHOWN:
        report.told.append(f"{row.table} {row.id} {why}; it was left out")


def _has_media(project: Project, pair: Pair) -> bool:
    return project.media_path(pair.media_a).exists() and project.media_path(pair.media_b).exists()


def _without_orphans(connection: sa.Connection, report: ImportReport) -> None:
    """Take back labels that supersede one which is not there, as an earlier label may have been left out."""
    for orphans in iter(lambda: list(_orphans(connection)), []):
        connection.execute(sa.delete(labels).where(labels.c.id.in_(orphans)))
        report.labels -= len(orphans)
        report.conflicts += len(orphans)
        room = SHOWN - len(report.told)
        report.told += [f"label {id} supersedes one that is not here; it was left out" for id in orphans[:room]]


def _orphans(connection: sa.Connection) -> Iterator[str]:
    earlier = labels.alias()
    missing = ~sa.exists().where(earlier.c.id == labels.c.supersedes)
    query = sa.select(labels.c.id).where(labels.c.supersedes.is_not(None), missing).order_by(labels.c.id)
    yield from connection.execute(query.limit(BATCH)).scalars()
