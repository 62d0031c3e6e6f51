"""Take a folder of real, captioned videos into a project, each as clips of the lengths and sizes asked for."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.ingest.clips import Asked, Sight, Window, cut, look
from densedpo.ingest.folder import RefusedError, Rejection, Source, find_sources
from densedpo.ingest.settings import IngestSettings
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Split, clip_id, split_of
from densedpo.store.shapes import Shape
from densedpo.video.io import Frames, write_video

__all__ = ["IngestReport", "IngestSettings", "Rejection", "asked_shapes", "ingest", "preview"]

LISTED = 20  # rejected files named in an error


@dataclass(frozen=True)
class IngestReport:
    """How many clips are new, how many were there already, and which files were not taken and why."""

    added: int
    known: int
    rejected: list[Rejection]


def ingest(project: Project, folder: Path, settings: IngestSettings) -> IngestReport:
    """Make clips of the video files below `folder`. Running it again goes on where it stopped.

    Raises UserError if the folder cannot be used, if no file of it can be taken, or, with `on_error="stop"`, at the
    first file that cannot; clips finished before stay.
    """
    sources, rejected = find_sources(folder, settings)
    if rejected and settings.on_error == "stop":
        raise UserError(f"{rejected[0].file}: {rejected[0].reason}")
    with project.lock("ingest"):
        stage = _Stage(project, settings)
        for source in track(sources, description="ingest"):
            try:
                stage.take(source)
            except RefusedError as refusal:
                if settings.on_error == "stop":
                    raise UserError(f"{source.name}: {refusal}") from refusal
                rejected.append(Rejection(source.name, str(refusal)))
        project.record("ingest", folder=folder.name, added=stage.added, known=stage.known, rejected=len(rejected))
    if not stage.added and not stage.known:
        raise UserError(f"nothing in {folder} could be taken:\n{_listed(rejected)}")
    return IngestReport(stage.added, stage.known, rejected)


def asked_shapes(project: Project, settings: IngestSettings) -> list[Shape]:
    """All shapes that a clip may get."""
    return Asked.of(settings, project.settings).shapes


def preview(project: Project, folder: Path, settings: IngestSettings) -> tuple[Counter[Shape], list[Rejection]]:
    """How many clips of each shape `ingest` would have made of the folder in the end, and what it would not take.

    Nothing is written. Raises UserError if the folder cannot be used.
    """
    sources, rejected = find_sources(folder, settings)
    asked, counts = Asked.of(settings, project.settings), Counter[Shape]()
    for source in track(sources, description="looking"):
        try:
            counts.update(window.shape for window in look(source.path, asked).windows)
        except RefusedError as refusal:
            rejected.append(Rejection(source.name, str(refusal)))
    return counts, rejected


def _listed(rejected: list[Rejection]) -> str:
    lines = [f"  - {each.file}: {each.reason}" for each in rejected[:LISTED]]
    if len(rejected) > LISTED:
        lines.append(f"  … and {len(rejected) - LISTED} more")
    return "\n".join(lines)


class _Stage:
    """The clips that the project has so far, and how one more file is taken."""

    def __init__(self, project: Project, settings: IngestSettings) -> None:
        self.added = self.known = 0
        self._project = project
        self._asked = Asked.of(settings, project.settings)
        self._clips = {clip.id: clip for clip in project.clips()}
        self._folder = project.cache_folder("ingest")
        shutil.rmtree(self._folder)  # what a killed run left
        self._folder.mkdir()

    def take(self, source: Source) -> None:
        """Add the clips of one file that are not there yet, all to one split. Raises RefusedError."""
        digest = _digest(source)
        sight: Sight | None = None
        windows = self._asked.blind()
        if windows is None:
            sight = look(source.path, self._asked)
            windows = sight.windows
        ids = {window: self._id(digest, window) for window in windows}
        known = {window for window, id in ids.items() if id in self._clips}
        for window in known:
            _check_same(self._clips[ids[window]], source)
        self.known += len(known)
        if len(known) < len(ids):
            for window, frames in cut(source.path, sight or look(source.path, self._asked), known, self._asked):
                self._add(ids[window], window.shape, split_of(digest), source, frames)

    def _id(self, digest: str, window: Window) -> str:
        frames, width, height = window.shape
        return clip_id(digest, window.start, frames, self._asked.fps, width, height)

    def _add(self, id: str, shape: Shape, split: Split, source: Source, frames: Frames) -> None:
        path = self._folder / f"{id}.mp4"
        write_video(path, frames, self._asked.fps)
        clip = Clip(
            id=id,
            media=self._project.adopt(path),
            caption=source.caption,
            frames=shape.frames,
            fps=self._asked.fps,
            width=shape.width,
            height=shape.height,
            source=source.source,
            licence=source.licence,
            split=split,
            origin=source.name,
        )
        self._project.add_clips([clip])
        self._clips[id] = clip
        self.added += 1


def _digest(source: Source) -> str:
    try:
        return file_digest(source.path)
    except OSError as error:
        raise RefusedError(f"cannot be read: {error.strerror}; check its permissions") from error


def _check_same(clip: Clip, source: Source) -> None:
    """A file that is known must say what it said before: rows are never overwritten."""
    for key in ("caption", "source", "licence"):
        before, now = getattr(clip, key), getattr(source, key)
        if before != now:
            raise RefusedError(f"is in the project already (from {clip.origin}) with the {key} {before!r}, not {now!r}")
