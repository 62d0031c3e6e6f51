"""Videos of any length, rate and size as clips of one shape: nearest frames in time, the middle of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from densedpo.errors import UserError
from densedpo.video.io import Frame, Frames, frame_times, iter_frames, resample_frames


def first_clip(path: Path, frames: int, fps: float, width: int, height: int) -> tuple[Frames, float]:
    """The clip with which a video begins, uint8 [frames, height, width, 3] RGB, and the video's own frames a second.

    Raises UserError if the file cannot be read, is shorter than the clip, or shows less than half as many frames a
    second.
    """
    seconds = frames / fps
    times = frame_times(path, until=seconds)
    own = (len(times) - 1) / times[-1]
    if own < fps / 2:
        raise UserError(f"{path} shows {own:.3g} frames a second, the project {fps:g}; over half would be repeats")
    if (frames - 1) / fps >= times[-1]:
        raise UserError(f"{path} is too short: it has {times[-1]:.2f} s, the project's clips {seconds:.2f} s")
    chosen = resample_frames(times[:-1], fps, frames)
    clip = np.stack([fit(frame, width, height) for frame in iter_frames(path, indices=iter(chosen))])
    return clip, float(own)


def nearest_size(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Of several sizes (width, height) the one nearest in aspect ratio, as a ratio of ratios, to a video of this size.

    Of those that the video is large enough for, if there are any, and the largest of equally near ones; else the
    smallest of equally near ones, to which the video will be enlarged.
    """
    large_enough = [size for size in sizes if size[0] <= width and size[1] <= height]

    def rank(size: tuple[int, int]) -> tuple[float, int]:
        apart = abs(math.log(width * size[1] / (height * size[0])))
        return round(apart, 9), math.prod(size) * (-1 if large_enough else 1)

    return min(large_enough or sizes, key=rank)


def lost(width: int, height: int, new_width: int, new_height: int) -> float:
    """The larger share of a side that `fit` cuts off a video of this size to make it a clip of the new one."""
    scale = min(width / new_width, height / new_height)
    return max(1 - new_width * scale / width, 1 - new_height * scale / height)


def fit(frame: Frame, width: int, height: int) -> Frame:
    """The middle of the frame, as large as the shape allows, scaled to it (Lanczos); never stretched.

    A frame of the right size comes back as it is.
    """
    if frame.shape[:2] == (height, width):
        return frame
    scale = min(frame.shape[1] / width, frame.shape[0] / height)
    left, top = (frame.shape[1] - width * scale) / 2, (frame.shape[0] - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    return np.asarray(Image.fromarray(frame).resize((width, height), resample=Image.Resampling.LANCZOS, box=box))
