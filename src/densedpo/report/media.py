"""The videos of a report: every comparison is one file, so that its sides can never drift apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.report.outcomes import PairOutcome
from densedpo.store.project import Project
from densedpo.store.schema import Clip, content_id
from densedpo.video.fitting import fit
from densedpo.video.io import Frames, probe, read_video, write_video
from densedpo.video.player import poster, upscale

MINIMUM_SIDE = 96  # pixels; tiny clips are doubled so that halved chroma still has one sample for each of their pixels
OURS = re.compile(r".+-[0-9a-f]{12}\.(mp4|png)")  # names of files that `strip` writes


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
class PairCard:
    """A pair with its guide clip, if it has one."""

    video: Video
    view: PairOutcome


def strip(out: Path, name: str, sides: Mapping[str, Path]) -> Video:
    """Write the sides (label → video file) next to each other into one file of `out/media`, and its poster.

    Its name is `name` and a digest of what is in it: a report made again writes only what has changed. Sides of another
    size or rate than the first are fitted to it; the shortest one ends all. Any browser plays the file, and every frame
    is a key frame. Raises UserError for a video that cannot be read.
    """
    digest = content_id([[label, file_digest(file)] for label, file in sides.items()], MINIMUM_SIDE)[:12]
    stem = f"media/{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{digest}"
    video, image = f"{stem}.mp4", f"{stem}.png"
    if (out / video).exists():
        info = probe(out / video)
        return Video(video, image, tuple(sides), info.width, info.height, info.fps, info.seconds)
    read = [read_video(file) for file in sides.values()]
    fps = read[0][1]
    frames = [_like(read[0][0], side, rate / fps) for side, rate in read]
    length = min(map(len, frames))
    joined = _even(np.concatenate([upscale(side[:length], MINIMUM_SIDE) for side in frames], axis=2))
    (out / "media").mkdir(parents=True, exist_ok=True)
    (out / image).write_bytes(poster(joined))
    write_video(out / video, joined, fps, quality="browser")  # last, and whole or absent
    return Video(video, image, tuple(sides), joined.shape[2], joined.shape[1], fps, length / fps)


def pair_cards(project: Project, shown: Sequence[PairOutcome], out: Path) -> Iterator[PairCard]:
    """Both members of each pair, beside its guide clip if that is there. A pair that cannot be read is left out."""
    clips = project.by_id(Clip, {view.pair.clip for view in shown if view.pair.clip})
    for view in shown:
        pair = view.pair
        sides = {"a": project.media_path(pair.media_a), "b": project.media_path(pair.media_b)}
        guide = clips.get(pair.clip or "")
        if guide is not None and project.media_path(guide.media).exists():
            sides = {"real clip": project.media_path(guide.media)} | sides
        try:
            video = strip(out, f"pair-{pair.id[:12]}", sides)
        except (UserError, FileNotFoundError):
            continue
        yield PairCard(video, view)


def sweep(out: Path, pages: Iterable[str]) -> None:
    """Remove the videos and posters that an earlier report wrote and that no page (its text) shows any more."""
    text = "".join(pages)
    for file in (out / "media").glob("*"):
        if OURS.fullmatch(file.name) and f"media/{file.name}" not in text:
            file.unlink()


def _like(first: Frames, frames: Frames, rate: float) -> Frames:
    """The frames at the first side's size and rate, `rate` being how many of them pass in one of its."""
    if abs(rate - 1) > 0.01:
        frames = frames[(np.arange(int(len(frames) / rate)) * rate).astype(np.int64)]
    if frames.shape[1:] == first.shape[1:]:
        return frames
    return np.stack([fit(frame, first.shape[2], first.shape[1]) for frame in frames])


def _even(frames: Frames) -> Frames:
    """The last row and column again where their number is odd: halved chroma needs even sizes."""
    height, width = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
