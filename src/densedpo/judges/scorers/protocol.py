"""What a scorer is: one number for some frames of one video, and an honest word about what that number sees.

A scorer never compares; `labels/reward.py` takes the difference of both sides. Axes: T frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.video.io import Frames, read_video

REC601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class About:
    """What a scorer's number is.

    `low` and `high` bound it; `better` says which end is good. `stillness` says whether it prefers a frozen copy to a
    moving original, by construction; `indifferent` ones are means over frames, so that only their average over all
    frames at which a clip could freeze is the clip's own. `minimum_frames` is the least it can look at.
    """

    name: str
    low: float
    high: float
    better: Literal["higher", "lower"]
    unit: str
    source: str
    sees: str
    blind_to: str
    stillness: Literal["prefers", "indifferent", "avoids", "unknown"]
    minimum_frames: int = 1

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is."""
        return 1 if self.better == "higher" else -1


@dataclass(frozen=True)
class Shown:
    """What is to be scored: frames `first_frame` up to, not including, `end_frame` of the file `video`."""

    id: str
    video: Path
    caption: str
    first_frame: int
    end_frame: int
    fps: float


class ScorerError(Exception):
    """One video could not be scored; others may."""


class DeclinedError(ScorerError):
    """The scorer works and says itself that it cannot score this one."""


class Scorer(Protocol):
    """Gives a number for each thing shown. `about` says what it means, `version` changes when the number may."""

    about: About
    version: str

    def score(self, shown: Shown) -> float:
        """The number. Raises ScorerError if this one cannot be had, UserError if none can."""
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
        ...


class PixelScorer:
    """A scorer that is a function of frames, uint8 `[T, H, W, 3]` RGB, and frames per second."""

    def __init__(self, about: About, function: Callable[[Frames, float], float], version: str = "1") -> None:
        self.about, self.version, self._function = about, version, function

    def score(self, shown: Shown) -> float:
        """The number for these frames."""
        return self.score_frames(_frames_of(shown.video)[shown.first_frame : shown.end_frame], shown.fps)

    def score_frames(self, frames_THWC: Frames, fps: float) -> float:
        """The number for frames in memory. Raises UserError if they are too few for this scorer."""
        if len(frames_THWC) < self.about.minimum_frames:
            raise UserError(
                f"{self.about.name} needs at least {self.about.minimum_frames} frames, but a segment has "
                f"{len(frames_THWC)}; choose another scorer or longer segments"
            )
        return float(self._function(frames_THWC, fps))

    def close(self) -> None:
        """Nothing to let go of."""


@lru_cache(maxsize=2)  # both sides of the pair at hand; their segments are asked for one after the other
def _frames_of(video: Path) -> Frames:
    return read_video(video)[0]


def luma(frames_THWC: Frames) -> NDArray[np.float32]:
    """Rec. 601 luma of RGB frames as float32 [T, H, W] in 0..255."""
    return np.asarray(frames_THWC @ REC601, dtype=np.float32)
