"""A clip as metrics see it: decoded once, with everything that several metrics need computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from densedpo.video.io import Frames, read_video

T = TypeVar("T")


class Footage:
    """A clip, its caption, and what it is compared with.

    `reference` is the real clip that it was guided by; `partner` is another clip from the same start (the base's).
    Nothing is decoded before the first metric asks.
    """

    def __init__(
        self,
        source: Path | tuple[Frames, float],
        caption: str | None = None,
        reference: Footage | None = None,
        partner: Footage | None = None,
    ) -> None:
        """`source` is a file, or frames uint8 `[T, H, W, 3]` RGB with their frames per second."""
        self._source = source
        self.caption = caption
        self.reference = reference
        self.partner = partner
        self._made: dict[str, Any] = {}

    @cached_property
    def _decoded(self) -> tuple[Frames, float]:
        return read_video(self._source) if isinstance(self._source, Path) else self._source

    @property
    def file(self) -> Path | None:
        """The clip's file, if it is one."""
        return self._source if isinstance(self._source, Path) else None

    @property
    def frames(self) -> Frames:
        """uint8 `[T, H, W, 3]` RGB. Raises UserError for a file that cannot be decoded."""
        return self._decoded[0]

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self._decoded[1]

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` returns, computed at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made
