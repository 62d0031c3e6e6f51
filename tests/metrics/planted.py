"""Clips whose truth is known, because it was planted."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from densedpo.metrics import Footage, Tools, UnmeasurableError, find_metrics
from densedpo.video.io import Frames

FPS = 8.0
METRICS = find_metrics()


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """A smooth random picture [H, W, 3] that fills 0..255."""
    rough = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = gaussian_filter(rough, (2.5, 2.5, 0), mode="wrap")
    return (smooth - smooth.min()) / np.ptp(smooth) * 255


def shifting(step: float, count: int = 9, size: int = 96, direction: tuple[int, int] = (0, 1)) -> Frames:
    """A texture that moves `step` pixels a frame (rows, columns), in from beyond the edge."""
    wide = texture(size + 200, size + 200)
    moved = [shift(wide, (-step * i * direction[0], -step * i * direction[1], 0), order=1) for i in range(count)]
    return np.stack([frame[50 : 50 + size, 50 : 50 + size] for frame in moved]).round().astype(np.uint8)


def frozen(count: int = 9, size: int = 96) -> Frames:
    """One frame again and again."""
    return np.repeat(shifting(0, 1, size), count, axis=0)


def value(name: str, frames: Frames, fps: float = FPS, reference: Frames | None = None, partner: Frames | None = None,
          caption: str | None = None, tools: Tools | None = None) -> float:  # fmt: skip
    """What the metric of this name says of the frames."""
    others = [None if other is None else Footage((other, fps)) for other in (reference, partner)]
    return METRICS[name].measure(Footage((frames, fps), caption, *others), tools or Tools())


def refused(name: str, frames: Frames, **options: Frames) -> str:
    """Why the metric of this name has no value for the frames; fails if it has one."""
    try:
        found = value(name, frames, **options)
    except UnmeasurableError as error:
        return str(error)
    raise AssertionError(f"{name} measured {found}")
