"""From a video file to frames as the project wants them: when, how many, how large."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.ingest.folder import RefusedError
from densedpo.video import fitting
from densedpo.video.io import Frame, Frames, frame_times, iter_frames, resample_frames

MAX_LOST = 0.01  # of a side; more counts as another shape


@dataclass(frozen=True)
class Shape:
    """What every clip of the project has."""

    frames: int
    fps: float
    width: int
    height: int

    @property
    def seconds(self) -> float:
        """From one clip's first frame to that of a clip that follows it without overlap."""
        return self.frames / self.fps


def cut(
    path: Path, starts: list[float], known: set[float], shape: Shape, crop: Literal["center", "none"]
) -> Iterator[tuple[float, Frames]]:
    """Yield (start, uint8 [T, H, W, 3] RGB) for each of the ascending `starts` (seconds) that the file still covers.

    The `known` ones are passed over. Raises RefusedError if the file cannot be read, does not cover its first window,
    shows too few frames a second, or has another shape than the project and `crop` is "none".
    """
    try:
        times = frame_times(path, until=starts[-1] + shape.seconds)
        missing = [start for start in _covered(times, starts, shape) if start not in known]
        windows = [resample_frames(times[:-1], shape.fps, shape.frames, start) for start in missing]
        frames = iter_frames(path, indices=itertools.chain(*windows))
        for start in missing:
            yield start, np.stack([fit(frame, shape, crop) for frame in itertools.islice(frames, shape.frames)])
    except UserError as error:
        raise RefusedError(str(error).removeprefix(f"{path}: ")) from error


def _covered(times: NDArray[np.float64], starts: list[float], shape: Shape) -> list[float]:
    """The starts from which the last moment of a clip still falls before the end of the file."""
    seconds = times[-1]
    fps = (len(times) - 1) / seconds
    if fps < shape.fps / 2:
        raise RefusedError(
            f"shows {fps:.3g} frames a second, the project {shape.fps:g}: over half of the clip would be repeats"
        )
    covered = [start for start in starts if start + (shape.frames - 1) / shape.fps < seconds]
    if not covered:
        raise RefusedError(
            f"is too short: needs {shape.frames} frames = {shape.seconds:.2f} s at {shape.fps:g} fps, "
            f"has {max(0.0, seconds - starts[0]):.2f} s from {starts[0]:g} s on"
        )
    return covered


def fit(frame: Frame, shape: Shape, crop: Literal["center", "none"]) -> Frame:
    """The middle of the frame, as large as the project's shape allows, scaled to it; never stretched.

    Lanczos, which averages over the source's area when it shrinks. A frame of the right size comes back as it is.
    """
    height, width = frame.shape[:2]
    scale = min(width / shape.width, height / shape.height)
    lost = max(1 - shape.width * scale / width, 1 - shape.height * scale / height)
    if crop == "none" and lost > MAX_LOST:
        raise RefusedError(
            f"is {width}x{height}, another shape than the project's {shape.width}x{shape.height}; "
            "use crop=center or cut it to shape first"
        )
    return fitting.fit(frame, shape.width, shape.height)
