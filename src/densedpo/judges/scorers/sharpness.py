"""Sharpness: the variance of the Laplacian."""

from __future__ import annotations

import numpy as np

from densedpo.judges.scorers.protocol import About, PixelScorer, luma
from densedpo.video.io import Frames


def sharpness(frames_THWC: Frames, fps: float) -> float:
    """Mean over frames of log2(1 + variance of the 4-neighbour Laplacian of luma); 1 more is twice the variance."""
    y_THW = luma(frames_THWC)
    inner = y_THW[:, 1:-1, 1:-1]
    laplacian_THW = (
        y_THW[:, :-2, 1:-1] + y_THW[:, 2:, 1:-1] + y_THW[:, 1:-1, :-2] + y_THW[:, 1:-1, 2:] - np.float32(4) * inner
    )
    variance_T = laplacian_THW.var(axis=(1, 2), dtype=np.float64)
    return float(np.log2(1 + variance_T).mean())


SCORER = PixelScorer(
    About(
        name="sharpness",
        low=0.0,
        high=20.0,  # a checkerboard of single pixels: a variance of 1020^2
        better="higher",
        unit="doublings of the variance of the Laplacian",
        source="Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000), LAPV",
        sees="blur: soft, washed out or melting frames",
        blind_to="noise and ringing, which count as sharp; motion, meaning, time and the caption",
        stillness="indifferent",
    ),
    sharpness,
)
