"""Find what is wrong with a project: rows that contradict each other, files that are missing, damaged or nobody's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from densedpo.files import file_digest
from densedpo.store.project import SUFFIXES, Project
from densedpo.store.schema import NATURAL_KEY, Clip, Pair, files_of, label_id, recipe_id
from densedpo.store.segments import segment_grid


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: its kind, the id or file concerned, and a sentence saying how to mend it.

    Kinds: missing-file, wrong-digest, orphan-file, missing-clip, missing-pair, missing-label, wrong-id, wrong-split,
    wrong-shape, beyond-grid.
    """

    kind: str
    item: str
    message: str


def validate(project: Project, deep: bool = False) -> list[Problem]:
    """Everything wrong with the project; `deep` also reads every file and compares its digest."""
    files: dict[Path, str] = {}
    splits: dict[str, str] = {}
    pairs: dict[str, Pair] = {}
    problems: list[Problem] = []
    for clip in project.clips():
        splits[clip.id] = clip.split
        problems.extend(_shape(project, clip))
        files |= {project.file_path(kind, digest): f"clip {clip.id}" for kind, digest in files_of(clip)}
    for pair in project.pairs():
        pairs[pair.id] = pair
        problems.extend([*_shape(project, pair), *_pair(pair, splits)])
        files |= {project.file_path(kind, digest): f"pair {pair.id}" for kind, digest in files_of(pair)}
    return [*problems, *_labels(project, pairs), *_present(files, deep), *_orphans(project, files)]


def _shape(project: Project, row: Clip | Pair) -> Iterator[Problem]:
    for key in ("frames", "fps", "width", "height"):
        here, expected = getattr(row, key), getattr(project.settings, key)
        if here != expected:
            message = f"{row.table} {row.id} has {key} {here}, but the project has {expected}; make it again"
            yield Problem("wrong-shape", row.id, message)


def _pair(pair: Pair, splits: dict[str, str]) -> Iterator[Problem]:
    if pair.id != recipe_id(pair.recipe):
        yield Problem("wrong-id", pair.id, f"pair {pair.id} was made by another recipe than it holds; make it again")
    if pair.clip is None:
        return
    if pair.clip not in splits:
        message = f"pair {pair.id} was made from clip {pair.clip}, which is not in the project; ingest that clip again"
        yield Problem("missing-clip", pair.id, message)
    elif pair.split != splits[pair.clip]:
        message = f"pair {pair.id} is in {pair.split}, but its clip in {splits[pair.clip]}; make the pair again"
        yield Problem("wrong-split", pair.id, message)


def _labels(project: Project, pairs: dict[str, Pair]) -> Iterator[Problem]:
    ids = {label.id for label in project.labels(superseded=True)}
    for label in project.labels(superseded=True):
        if label.id != label_id(**{key: getattr(label, key) for key in NATURAL_KEY}):
            yield Problem("wrong-id", label.id, f"label {label.id} was changed after it was made; give it again")
        if label.supersedes is not None and label.supersedes not in ids:
            message = f"label {label.id} supersedes {label.supersedes}, which is not in the project; merge it again"
            yield Problem("missing-label", label.id, message)
        pair = pairs.get(label.pair)
        if pair is None:
            message = f"label {label.id} is about pair {label.pair}, which is not in the project; merge that pair"
            yield Problem("missing-pair", label.id, message)
        elif label.segment is not None:
            count = len(segment_grid(pair.frames, pair.fps, label.segment_seconds))
            if label.segment >= count:
                message = (
                    f"label {label.id} is on segment {label.segment}, but pair {pair.id} has {count}; label it again"
                )
                yield Problem("beyond-grid", label.id, message)


def _present(files: dict[Path, str], deep: bool) -> Iterator[Problem]:
    for path, owner in files.items():
        if not path.exists():
            message = f"{path} of {owner} is missing; put it back, or merge a project that has it"
            yield Problem("missing-file", path.stem, message)
        elif deep and file_digest(path) != path.stem:
            message = f"{path} of {owner} is damaged (its content has another digest); put back an intact copy"
            yield Problem("wrong-digest", path.stem, message)


def _orphans(project: Project, files: dict[Path, str]) -> Iterator[Problem]:
    for kind in SUFFIXES:
        for path in sorted((project.root / kind).rglob("*")):
            if path.is_file() and path not in files:
                message = f"{path} belongs to no clip or pair; delete it if no command is running"
                yield Problem("orphan-file", path.name, message)
