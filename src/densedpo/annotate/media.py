"""The files that the player shows: each is rendered once into the project's cache, under a name that tells nothing.

A file holds both members of a pair, in an order drawn for that pair; a page is told which half to show on the left,
and so learns nothing about which one is a. Names are hashes that no page ever sees.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, content_id
from densedpo.video.io import read_video
from densedpo.video.player import numbered

Stamp = tuple[int, int, int]  # a file's number, size and time: another file has another

RENDERING = 1  # counts up when files come to look otherwise than before


class PlayerMedia:
    """Renders and finds the files. Safe to share between threads; a file is rendered by one of them."""

    def __init__(self, project: Project, seed: int) -> None:
        self._project = project
        self._seed = seed
        self._folder = project.cache_folder("annotate")
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._digests: dict[str, tuple[str, Stamp | None]] = {}

    def a_first(self, pair: Pair) -> bool:
        """Whether the left half of the pair's file is its member a."""
        return hashlib.sha256(f"file:{self._seed}:{pair.id}".encode()).digest()[0] % 2 == 0

    def known(self, pair: Pair) -> str | None:
        """The SHA-256 of the pair's file if it is there and `seen` has read it."""
        path = self._path(self._members(pair))
        digest, stamp = self._digests.get(path.name, ("", None))
        return digest if stamp is not None and stamp == _stamp(path) else None

    def of_pair(self, pair: Pair) -> Path:
        """The file with both members of the pair; rendered now if it is not there. UserError for damaged media."""
        return self._file(self._members(pair), pair.fps)

    def of_clip(self, clip: Clip) -> Path:
        """The file with the real clip alone; else as `of_pair`."""
        return self._file((clip.media,), clip.fps)

    def seen(self, pair: Pair) -> str:
        """The SHA-256 of what somebody who labels the pair is shown."""
        path = self.of_pair(pair)
        stamp = _stamp(path)  # before it is read
        digest = file_digest(path)
        self._digests[path.name] = digest, stamp
        return digest

    def _members(self, pair: Pair) -> tuple[str, str]:
        return (pair.media_a, pair.media_b) if self.a_first(pair) else (pair.media_b, pair.media_a)

    def _path(self, members: Sequence[str]) -> Path:
        return self._folder / f"{content_id('player', RENDERING, *members)}.mp4"

    def _file(self, members: Sequence[str], fps: float) -> Path:
        path = self._path(members)
        with self._only_one(path.stem):
            if not path.exists():
                self._render(path, members, fps)
        return path

    def _render(self, path: Path, members: Sequence[str], fps: float) -> None:
        sides = [read_video(self._project.media_path(digest))[0] for digest in members]
        if any(side.shape != sides[0].shape for side in sides):
            raise UserError(f"the members of a pair differ in size or length: {', '.join(members)}; make it again")
        numbered(path, sides, fps)

    @contextlib.contextmanager
    def _only_one(self, token: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(token, threading.Lock())
        with lock:
            yield


def _stamp(path: Path) -> Stamp | None:
    """Of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
