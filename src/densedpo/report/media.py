"""The videos of a report: every comparison is one file, so that its sides can never drift apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.report.outcomes import PairOutcome
from densedpo.report.runs import BASE, METRICS, Run, Score
from densedpo.store.project import Project
from densedpo.store.schema import Clip
from densedpo.video.io import Frames, read_video, write_video
from densedpo.video.player import poster, upscale

CLIPS_SHOWN = 9  # per order: in order, most improved, most worsened
PAIRS_SHOWN = 8
MINIMUM_SIDE = 96  # pixels; tiny clips are doubled so that halved chroma still has one sample for each of their pixels


@dataclass(frozen=True)
class Video:
    """One written video: file names relative to the page, and what the page needs to lay it out and step through it."""

    file: str
    poster: str
    sides: tuple[str, ...]
    width: int
    height: int
    fps: float
    seconds: float


@dataclass(frozen=True)
class ClipCard:
    """The base's and the tuned model's video of one prompt and seed. `change` is the mean change of the qualities."""

    video: Video
    base: Score
    tuned: Score
    order: int
    change: float


@dataclass(frozen=True)
class PairCard:
    """A pair with its guide clip, if it has one."""

    video: Video
    view: PairOutcome


def clip_cards(evaluation: Run, tuned: str, out: Path) -> list[ClipCard]:
    """The first, the most improved and the most worsened videos, each set `CLIPS_SHOWN` large, in order."""
    found = _matched(evaluation, tuned)
    changes = [_change(base, other) for base, other in found]
    ranked = sorted(range(len(found)), key=lambda i: changes[i])
    shown = {*range(len(found))[:CLIPS_SHOWN], *ranked[:CLIPS_SHOWN], *ranked[-CLIPS_SHOWN:]}
    cards = []
    for order in sorted(shown):
        base, other = found[order]
        sides = {name: evaluation.folder / row.video for name, row in ((BASE, base), (tuned, other))}
        video = _strip(out, f"clip-{base.prompt_index:04d}-{base.seed}", sides)
        cards.append(ClipCard(video, base, other, order, changes[order]))
    return cards


def pair_cards(project: Project, outcomes: Sequence[PairOutcome], out: Path) -> Iterator[PairCard]:
    """The first pairs in id order, labelled ones before the others; ids are hashes, so nobody picked them."""
    shown = sorted(outcomes, key=lambda view: not view.labelled)[:PAIRS_SHOWN]
    clips = {clip.id: clip for clip in project.clips()}
    for view in shown:
        pair = view.pair
        sides = {"a": project.media_path(pair.media_a), "b": project.media_path(pair.media_b)}
        guide = clips.get(pair.clip or "")
        if guide and _same_shape(guide, pair):
            sides = {"guide clip": project.media_path(guide.media)} | sides
        yield PairCard(_strip(out, f"pair-{pair.id}", sides), view)


def _matched(evaluation: Run, tuned: str) -> list[tuple[Score, Score]]:
    """Base and tuned rows of one prompt and seed whose videos exist: every prompt's first seed, then the second…"""
    rows = [row for row in evaluation.scores() if _exists(evaluation.folder, row.video)]
    base = {row.key: row for row in rows if row.contestant == BASE}
    other = {row.key: row for row in rows if row.contestant == tuned}
    seen: Counter[int] = Counter()
    ranked = []
    for key in sorted(base.keys() & other.keys()):
        ranked.append((seen[key[0]], key))
        seen[key[0]] += 1
    return [(base[key], other[key]) for _, key in sorted(ranked)]


def _exists(folder: Path, video: str) -> bool:
    """A run's videos lie inside its own folder; anything else is not shown."""
    file = (folder / video).resolve()
    return file.is_relative_to(folder.resolve()) and file.is_file()


def _change(base: Score, tuned: Score) -> float:
    qualities = [metric for metric in METRICS[:3] if metric in base.scores and metric in tuned.scores]
    return sum(tuned.scores[m] - base.scores[m] for m in qualities) / max(1, len(qualities))


def _same_shape(clip: Clip, pair: Any) -> bool:
    return (clip.width, clip.height, clip.fps) == (pair.width, pair.height, pair.fps)


def _strip(out: Path, name: str, sides: Mapping[str, Path]) -> Video:
    """Write all sides next to each other into one video with its poster."""
    read = [read_video(path) for path in sides.values()]
    length, fps = min(len(frames) for frames, _ in read), read[0][1]
    joined: Frames = np.concatenate([upscale(frames[:length], MINIMUM_SIDE) for frames, _ in read], axis=2)
    video, image = f"media/{name}.mp4", f"media/{name}.png"
    write_video(out / video, joined, fps, quality="browser")
    (out / image).write_bytes(poster(joined))
    height, width = joined.shape[1:3]
    return Video(video, image, tuple(sides), width, height, fps, length / fps)
