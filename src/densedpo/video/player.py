"""Renderings for people: two clips side by side in one file, posters, contact sheets.

Two `<video>` elements started together drift a frame apart; one file that holds both sides cannot. Every frame of it is
a key frame, so a browser that seeks to `(n + 0.5) / fps` shows exactly frame n.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densedpo.video.io import Frames, write_video

STRIP = 16  # pixels; width of the strip that bears the frame's number
BITS, CELL = 16, 8  # cells of the strip below each other, each CELL pixels high, the lowest bit on top
COMFORTABLE_SIDE = 384  # pixels; what `numbered` aims at


@dataclass(frozen=True)
class NumberedLayout:
    """Where the sides are in a `numbered` file: side i covers x from STRIP + i * (width + STRIP), `width` wide."""

    scale: int
    width: int
    height: int


def numbered_layout(width: int, height: int) -> NumberedLayout:
    """The layout for clips of this size: a whole number of times as large, then padded to even sizes."""
    scale = max(1, round(COMFORTABLE_SIDE / min(width, height)))
    return NumberedLayout(scale, _even(width * scale), _even(height * scale))


def numbered(path: str | Path, sides: Sequence[Frames], fps: float) -> None:
    """Write one browser-playable file with all `sides`, uint8 `[T, H, W, 3]` RGB, next to each other.

    Left of each side is a strip that bears the frame's number as black and white cells, and under them a cell that
    makes the number of white ones odd. So a page that has a picture in its hands knows which frame it is.
    Raises ValueError if the shapes differ or there are more frames than the strip can number.
    """
    shape = sides[0].shape
    if any(side.shape != shape for side in sides) or shape[0] > 1 << BITS:
        raise ValueError(f"sides: expected one shape, at most {1 << BITS} frames, got {[side.shape for side in sides]}")
    layout = numbered_layout(shape[2], shape[1])
    strip = _strips(shape[0], layout.height)
    columns = [part for side in sides for part in (strip, _padded(_enlarge(side, layout.scale), layout))]
    write_video(path, np.concatenate(columns, axis=2), fps, quality="browser")


def upscale(frames: Frames, minimum_side: int) -> Frames:
    """Repeat pixels a whole number of times until the shorter side of `[T, H, W, 3]` is at least `minimum_side`."""
    return _enlarge(frames, max(1, math.ceil(minimum_side / min(frames.shape[1:3]))))


def poster(frames: Frames) -> bytes:
    """The middle frame of `[T, H, W, 3]` as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frames[len(frames) // 2]).save(buffer, format="PNG")
    return buffer.getvalue()


def contact_sheet(videos: Sequence[Frames], columns: int = 6, gap: int = 4) -> Image.Image:
    """One row for each video `[T, H, W, 3]`, `columns` frames evenly spread from its first to its last.

    Cells are as large as the largest video; frames keep their own size. Raises ValueError without a video or column.
    """
    if not videos or columns < 1:
        raise ValueError(f"contact sheet: expected at least one video and one column, got {len(videos)} and {columns}")
    height = max(video.shape[1] for video in videos) + gap
    width = max(video.shape[2] for video in videos) + gap
    sheet = Image.new("RGB", (columns * width - gap, len(videos) * height - gap), "white")
    for row, video in enumerate(videos):
        for column, index in enumerate(_spread(len(video), columns)):
            sheet.paste(Image.fromarray(video[index]), (column * width, row * height))
    return sheet


def _even(number: int) -> int:
    return number + number % 2


def _padded(frames: Frames, layout: NumberedLayout) -> Frames:
    """Repeat the last row and column so that both sizes are even."""
    rows, columns = layout.height - frames.shape[1], layout.width - frames.shape[2]
    return np.pad(frames, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")


def _strips(count: int, height: int) -> Frames:
    """The strips of frames 0 to count - 1, `[T, height, STRIP, 3]`."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    cells = np.concatenate([bits, 1 - bits.sum(axis=1, keepdims=True) % 2], axis=1)
    strips = np.zeros((count, max(height, (BITS + 1) * CELL), STRIP, 3), dtype=np.uint8)
    strips[:, : (BITS + 1) * CELL] = 255 * cells.repeat(CELL, axis=1)[:, :, None, None]
    return strips[:, :height]


def _spread(frames: int, columns: int) -> NDArray[np.int64]:
    return np.linspace(0, frames - 1, columns).round().astype(np.int64)


def _enlarge(frames: Frames, scale: int) -> Frames:
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)
