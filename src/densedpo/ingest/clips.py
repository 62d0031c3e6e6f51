"""From a video file to frames as they are wanted: when, how many, how large."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.ingest.folder import RefusedError
from densedpo.ingest.settings import IngestSettings
from densedpo.store.project import ProjectSettings
from densedpo.store.shapes import Shape
from densedpo.video import fitting
from densedpo.video.io import Frames, frame_times, iter_frames, resample_frames

MAX_LOST = 0.01  # of a side; more counts as another shape


class Window(NamedTuple):
    """A part of a file that becomes a clip: its first second, and the clip's shape."""

    start: float
    shape: Shape


@dataclass(frozen=True)
class Asked:
    """The sizes and lengths that clips may have, and where in a file they lie."""

    sizes: tuple[tuple[int, int], ...]  # width, height
    lengths: tuple[int, ...]  # frames, the longest first
    fps: float
    start: float
    count: int  # windows of a file, at most
    crop: Literal["center", "none"]

    @classmethod
    def of(cls, settings: IngestSettings, project: ProjectSettings) -> Asked:
        """What the settings ask for; the project's own size and length where they say nothing."""
        sizes = [(project.width, project.height)]
        if settings.sizes is not None:
            sizes = [(int(width), int(height)) for width, height in (size.split("x") for size in settings.sizes)]
        lengths = sorted(set(settings.frames or (project.frames,)), reverse=True)
        wanted = settings.start, settings.windows_per_file, settings.crop
        return cls(tuple(dict.fromkeys(sizes)), tuple(lengths), project.fps, *wanted)

    @property
    def shapes(self) -> list[Shape]:
        """All shapes that a clip may get."""
        return [Shape(frames, *size) for size in self.sizes for frames in self.lengths]

    def blind(self) -> list[Window] | None:
        """The windows that a file may give if it is long enough, where that needs no look at it: with one shape."""
        if len(self.shapes) > 1:
            return None
        (shape,) = self.shapes
        return [Window(self.start + number * self.seconds(shape.frames), shape) for number in range(self.count)]

    def seconds(self, frames: int) -> float:
        """From a clip's first frame to that of a clip that follows it without overlap."""
        return frames / self.fps

    def windows(self, size: tuple[int, int], end: float) -> list[Window]:
        """The clips that a file gives which ends after `end` seconds: one after another, each as long as still fits."""
        taken = dict.fromkeys(self.lengths, 0)
        found: list[Window] = []
        while len(found) < self.count:
            start = self.start + sum(number * self.seconds(frames) for frames, number in taken.items() if number)
            fitting = (frames for frames in self.lengths if start + (frames - 1) / self.fps < end)
            frames = next(fitting, None)
            if frames is None:
                break
            taken[frames] += 1
            found.append(Window(start, Shape(frames, *size)))
        return found


@dataclass(frozen=True)
class Sight:
    """A file that was looked at: when its frames are shown, as `frame_times` gives it, and the windows it fills."""

    times: NDArray[np.float64]
    windows: list[Window]


def look(path: Path, asked: Asked) -> Sight:
    """Which clips a file gives.

    Raises RefusedError if the file cannot be read, does not cover its first window, shows too few frames a second, or
    has another shape than its clips and `asked.crop` is "none".
    """
    try:
        last = asked.start + (asked.count - 1) * asked.seconds(asked.lengths[0])
        times = frame_times(path, until=last + asked.seconds(asked.lengths[0]))
        height, width = next(iter_frames(path)).shape[:2]
    except UserError as error:
        raise RefusedError(str(error).removeprefix(f"{path}: ")) from error
    fps = (len(times) - 1) / times[-1]
    if fps < asked.fps / 2:
        raise RefusedError(
            f"shows {fps:.3g} frames a second, the project {asked.fps:g}: over half of the clip would be repeats"
        )
    size = fitting.nearest_size(width, height, asked.sizes)
    windows = asked.windows(size, times[-1])
    if not windows:
        frames = asked.lengths[-1]
        raise RefusedError(
            f"is too short: needs {frames} frames = {asked.seconds(frames):.2f} s at {asked.fps:g} fps, "
            f"has {max(0.0, times[-1] - asked.start):.2f} s from {asked.start:g} s on"
        )
    if asked.crop == "none" and fitting.lost(width, height, *size) > MAX_LOST:
        raise RefusedError(
            f"is {width}x{height}, another shape than its clips' {size[0]}x{size[1]}; "
            "use crop=center or cut it to shape first"
        )
    return Sight(times, windows)


def cut(path: Path, sight: Sight, known: Collection[Window], asked: Asked) -> Iterator[tuple[Window, Frames]]:
    """Yield each window of the file and its uint8 [T, H, W, 3] RGB; the `known` ones are passed over.

    Raises RefusedError if the file cannot be read.
    """
    missing = [window for window in sight.windows if window not in known]
    moments = [resample_frames(sight.times[:-1], asked.fps, shape.frames, start) for start, shape in missing]
    try:
        frames = iter_frames(path, indices=itertools.chain(*moments))
        for window in missing:
            length, width, height = window.shape
            taken = itertools.islice(frames, length)
            yield window, np.stack([fitting.fit(frame, width, height) for frame in taken])
    except UserError as error:
        raise RefusedError(str(error).removeprefix(f"{path}: ")) from error
