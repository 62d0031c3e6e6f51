"""Find what is wrong with a project: rows that contradict each other, files that are missing, damaged or nobody's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from densedpo.files import file_digest
from densedpo.store.project import SUFFIXES, Project
from densedpo.store.schema import NATURAL_KEY, Clip, Pair, files_of, label_id, recipe_id
from densedpo.store.segments import segment_grid
from densedpo.store.shapes import contradiction


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
    clips: dict[str, Clip] = {}
    pairs: dict[str, Pair] = {}
    problems: list[Problem] = []
    for clip in project.clips():
        clips[clip.id] = clip
        problems.extend(_shape(project, clip, None))
        files |= {project.file_path(kind, digest): f"clip {clip.id}" for kind, digest in files_of(clip)}
    for pair in project.pairs():
        pairs[pair.id] = pair
        guide = clips.get(pair.clip) if pair.clip else None
        problems.extend([*_shape(project, pair, guide), *_pair(pair, clips)])
        if deep:
            problems.extend(_sides(project, pair))
        files |= {project.file_path(kind, digest): f"pair {pair.id}" for kind, digest in files_of(pair)}
    return [*problems, *_labels(project, pairs), *_present(files, deep), *_orphans(project, files)]


def _shape(project: Project, row: Clip | Pair, guide: Clip | None) -> Iterator[Problem]:
    if wrong := contradiction(row, project.settings.fps, guide):
        yield Problem("wrong-shape", row.id, f"{row.table} {row.id} {wrong}; make it again")


def _sides(project: Project, pair: Pair) -> Iterator[Problem]:
    """Both members' latents, if they can be read, are to have one shape."""
    path = project.latents_path(pair.latents or "")
    if pair.latents is None or not path.exists():
        return
    told = _tensors(path)
    if told is not None and (told.get("a") is None or told.get("a") != told.get("b")):
        message = f"the latents of pair {pair.id} are not of two videos of one shape ({told}); make the pair again"
        yield Problem("wrong-shape", pair.id, message)


def _tensors(path: Path) -> dict[str, list[int]] | None:
    """Name → shape of the tensors in a safetensors file, from its header alone; None if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no dictionary
    except SafetensorError:  # which its digest tells
        return None


def _pair(pair: Pair, clips: dict[str, Clip]) -> Iterator[Problem]:
    if pair.id != recipe_id(pair.recipe):
        yield Problem("wrong-id", pair.id, f"pair {pair.id} was made by another recipe than it holds; make it again")
    if pair.clip is None:
        return
    if pair.clip not in clips:
        message = f"pair {pair.id} was made from clip {pair.clip}, which is not in the project; ingest that clip again"
        yield Problem("missing-clip", pair.id, message)
    elif pair.split != clips[pair.clip].split:
        message = f"pair {pair.id} is in {pair.split}, but its clip in {clips[pair.clip].split}; make the pair again"
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
