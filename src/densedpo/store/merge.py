"""Join another project into this one: rows and files. What disagrees is reported and never overwritten."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from densedpo.errors import UserError
from densedpo.files import copy_atomic
from densedpo.store.project import BATCH, Project, R
from densedpo.store.schema import Clip, Label, Pair, Row, files_of, references_of
from densedpo.store.shapes import contradiction
from densedpo.store.tables import differing

SHARED = ("fps", "segment_seconds")


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row of the other project that was left out, and why."""

    kind: str
    item: str
    message: str


@dataclass(frozen=True, slots=True)
class MergeReport:
    """How many rows of each kind were new, and what was left out."""

    added: dict[str, int] = field(default_factory=lambda: {"clip": 0, "pair": 0, "label": 0, "event": 0})
    conflicts: list[Conflict] = field(default_factory=list)


def merge(project: Project, other: Project) -> MergeReport:
    """Add the clips, pairs, labels, events and files of `other` to `project`; a second merge adds nothing.

    A row whose id is here with other content, whose file is missing there, whose shape contradicts its clip or recipe,
    or that refers to such a row is left out and reported. Raises UserError if the two differ in fps or segment_seconds.
    """
    for key in SHARED:
        here, there = getattr(project.settings, key), getattr(other.settings, key)
        if here != there:
            raise UserError(f"{other.root} has {key} {there} but {project.root} has {here}; only like projects merge")
    report = MergeReport()
    left_out: set[str] = set()
    with project.lock("merge"):
        _merge_rows(project, other, other.clips(), report, left_out)
        _merge_rows(project, other, other.pairs(), report, left_out)
        for labels in _corrections_last(other):
            _merge_rows(project, other, labels, report, left_out)
        _merge_rows(project, other, other.events(), report, left_out)
        if sum(report.added.values()):
            project.record("merge", other=str(other.root), added=report.added, conflicts=len(report.conflicts))
    return report


def _corrections_last(other: Project) -> Iterator[Iterable[Label]]:
    """The labels of `other` in groups, each label in a later group than the one it supersedes."""
    yield (label for label in other.labels(superseded=True) if label.supersedes is None)
    pending = {label.id: label for label in other.labels(superseded=True) if label.supersedes is not None}
    while pending:
        ready = [label for label in pending.values() if label.supersedes not in pending]
        assert ready, "labels cannot supersede each other in a circle: an id is a hash of what it supersedes"
        yield ready
        for label in ready:
            del pending[label.id]


def _merge_rows(project: Project, other: Project, rows: Iterable[R], report: MergeReport, left_out: set[str]) -> None:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        new, clashes = project.compare(batch)
        obstacles: list[tuple[Row, str]] = [
            (given, f"is in both with another {', '.join(differing(here, given))}") for here, given in clashes
        ]
        fresh = {row.id for row in new} | {given.id for _, given in clashes}
        for known in batch:
            if known.id not in fresh:
                _bring_files(project, other, known)  # imported labels bring their pairs, but no videos
        ready = []
        guides = _guides(other, new)
        for row in new:
            obstacle = _obstacle(row, other, left_out, guides)
            if obstacle:
                obstacles.append((row, obstacle))
            else:
                ready.append(row)
        for refused, message in obstacles:
            left_out.add(refused.id)
            sentence = f"{refused.table} {refused.id} {message}; it was left out"
            report.conflicts.append(Conflict(refused.table, refused.id, sentence))
        for row in ready:
            _bring_files(project, other, row)
        report.added[batch[0].table] += project.add(ready)


def _guides(other: Project, rows: Sequence[Row]) -> dict[str, Clip]:
    """The clips that these pairs were made from."""
    return other.by_id(Clip, {row.clip for row in rows if isinstance(row, Pair) and row.clip is not None})


def _obstacle(row: Row, other: Project, left_out: set[str], guides: dict[str, Clip]) -> str:
    """Why a row that is new here must stay out; '' if nothing is in the way."""
    for reference in references_of(row):
        if reference in left_out:
            return f"refers to {reference}, which was left out"
    for kind, digest in files_of(row):
        if not other.file_path(kind, digest).exists():
            return f"needs {other.file_path(kind, digest)}, which is missing"
    if isinstance(row, Clip | Pair):
        guide = guides.get(row.clip) if isinstance(row, Pair) and row.clip else None
        return contradiction(row, other.settings.fps, guide)
    return ""


def _bring_files(project: Project, other: Project, row: Row) -> None:
    for kind, digest in files_of(row):
        source, target = other.file_path(kind, digest), project.file_path(kind, digest)
        if source.exists() and not target.exists():
            copy_atomic(source, target)
