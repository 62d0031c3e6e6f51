"""The pictures of the question: which frames, in which layout, as JPEG bytes.

Shapes: T frames, H height, W width, 3 channels RGB.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.video.io import Frame, Frames, resample_frames

GAP = 8  # pixels of black between two clips or two cells
NAMES = ("First clip", "Second clip")


@dataclass(frozen=True, slots=True)
class Part:
    """Pictures of one size and the words before them; as one video if `video`. `pixels` of all together."""

    text: str
    jpegs: tuple[bytes, ...]
    pixels: int
    video: bool = False


def shown_frames(first: int, end: int, frames: int, video_fps: float, fps: float) -> NDArray[np.int64]:
    """Which of the frames `first` up to, not including, `end` are shown: `fps` a second, nearest frame, none twice."""
    count = max(1, round((end - first) / video_fps * fps))
    indices = resample_frames(np.arange(frames) / video_fps, fps, count, first / video_fps)
    return np.unique(np.clip(indices, first, end - 1))


def show(first: Frames, second: Frames, times: Sequence[float], settings: JudgeSettings) -> tuple[Part, ...]:
    """The pictures of two clips, [T, H, W, 3] each of frames at `times`, in this order."""
    if settings.layout == "side_by_side":
        both = [beside(one, other) for one, other in zip(first, second, strict=True)]
        return tuple(_part(f"At {time:.3f} s:", [each], settings) for time, each in zip(times, both, strict=True))
    parts: list[Part] = []
    for name, clip in zip(NAMES, (first, second), strict=True):
        if settings.layout == "grid":
            parts.append(_part(f"{name}:", [grid(clip)], settings))
        elif settings.layout == "video":
            parts.append(_part(f"{name}:", list(clip), settings, video=True))
        else:
            told = zip(times, clip, strict=True)
            parts += [_part(f"{name}, {time:.3f} s:", [frame], settings) for time, frame in told]
    return tuple(parts)


def beside(left: Frame, right: Frame) -> Frame:
    """Two pictures with a black bar between them."""
    bar = np.zeros((left.shape[0], GAP, 3), np.uint8)
    return np.concatenate([left, bar, right], axis=1)


def grid(frames: Frames) -> Frame:
    """All frames in one picture, row by row, about as wide as high; cells that stay empty are black."""
    count, height, width = frames.shape[:3]
    columns = min(count, max(1, round(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    picture = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        picture[top : top + height, left : left + width] = frame
    return picture


def shown_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height after scaling down, never up, so that the longer side is at most `longest`."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _part(text: str, pictures: Sequence[Frame], settings: JudgeSettings, video: bool = False) -> Part:
    height, width = pictures[0].shape[:2]
    size = shown_size(width, height, settings.max_image_side)
    jpegs = tuple(_jpeg(each, size, settings.jpeg_quality) for each in pictures)
    return Part(text, jpegs, len(jpegs) * size[0] * size[1], video)


def _jpeg(picture: Frame, size: tuple[int, int], quality: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)  # full colour resolution: fine defects stay
    return file.getvalue()
