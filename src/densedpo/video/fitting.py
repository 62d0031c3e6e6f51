"""Videos of any length, rate and size as clips of one shape: nearest frames in time, the middle of the picture."""

from __future__ import annotations

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
