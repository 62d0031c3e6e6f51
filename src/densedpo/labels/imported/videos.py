"""Videos that other programs' files name: found in one folder, brought to the project's shape, adopted once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from densedpo.errors import UserError
from densedpo.files import file_digest, temporary_beside, write_text_atomic
from densedpo.store.project import Project
from densedpo.store.schema import Pair, content_id, recipe_id, split_of
from densedpo.video.fitting import first_clip
from densedpo.video.io import write_video

FITTING = 1  # counts up when clips come to look otherwise than before
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


@dataclass(frozen=True, slots=True)
class Video:
    """A file's SHA-256, its own frames a second, and the SHA-256 of the clip that was made of it."""

    source: str
    fps: float
    media: str


class Videos:
    """The videos of a folder, as clips of a project. A clip that was made before is not made again."""

    def __init__(self, project: Project, folder: Path | None) -> None:
        self._project = project
        self._folder = folder
        self._known: dict[Path, Video] = {}
        if folder is not None and not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; give the folder that holds the videos")

    def take(self, name: str) -> Video:
        """The video by this name: a path in the folder, or a URL that ends in one.

        Raises UserError if it is not there, lies outside the folder, or cannot become a clip.
        """
        path = self._find(name)
        if path not in self._known:
            self._known[path] = self._clip(path)
        return self._known[path]

    def _find(self, name: str) -> Path:
        if self._folder is None:
            raise UserError(f"{name!r} is a video, but no folder of videos was given; add --videos FOLDER")
        root = self._folder.resolve()
        for candidate in _candidates(name):
            path = Path(os.path.normpath(root / candidate))
            if not path.is_relative_to(root) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(root):
                raise UserError(f"{path} is a link out of {self._folder}; copy the file into it")
            return path
        raise UserError(f"there is no video {name!r} in {self._folder}; put it there or correct the name")

    def _clip(self, path: Path) -> Video:
        source, shape = file_digest(path), _shape(self._project)
        note = self._project.cache_folder("imported") / f"{content_id(FITTING, source, shape)}.json"
        if note.exists():
            known = Video(**json.loads(note.read_text()))
            if self._project.media_path(known.media).exists():
                return known
        frames, fps = first_clip(path, **shape)
        temporary = temporary_beside(note)
        try:
            write_video(temporary, frames, shape["fps"])
            video = Video(source, fps, self._project.adopt(temporary))
        finally:
            temporary.unlink(missing_ok=True)
        write_text_atomic(note, json.dumps({"source": source, "fps": fps, "media": video.media}))
        return video


def imported_pair(project: Project, prompt: str, a: Video, b: Video, models: dict[str, str]) -> Pair:
    """The pair of two videos from elsewhere; one prompt's pairs are all in one split. `models` are their makers."""
    shape = _shape(project)
    recipe = {"mode": "imported", "prompt": prompt, "a": a.source, "b": b.source, "models": models, **shape}
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=None,
        prompt=prompt,
        mode="imported",
        split=split_of(content_id("imported", prompt)),
        **shape,
        eta=None,
        model_hash="",
        vae_hash="",
        media_a=a.media,
        media_b=b.media,
        latents=None,
        distance=None,
        near_identical=a.media == b.media,
    )


def _shape(project: Project) -> dict[str, Any]:
    settings = project.settings
    return {"frames": settings.frames, "fps": settings.fps, "width": settings.width, "height": settings.height}


def _candidates(name: str) -> Iterator[str]:
    """Paths that a name may stand for: itself, the path of a URL, its last part, that as it was before an upload."""
    if "\0" in name:
        return
    yield name
    try:
        url = urlsplit(name)
    except ValueError:
        return
    local = parse_qs(url.query).get("d", [])  # Label Studio's local files: /data/local-files/?d=folder/a.mp4
    for path in [*local, unquote(url.path)]:
        last = path.rsplit("/", 1)[-1]
        yield from (path.lstrip("/"), last, UPLOADED.sub("", last, count=1))
