"""Temporal flickering as VBench defines it."""

from __future__ import annotations

import numpy as np

from densedpo.judges.scorers.protocol import About, PixelScorer
from densedpo.video.io import Frames


def flicker(frames_THWC: Frames, fps: float) -> float:
    """(255 - mean absolute difference of neighbouring frames) / 255."""
    steps = np.abs(np.diff(frames_THWC.astype(np.int16), axis=0))
    return 1 - float(steps.mean(dtype=np.float64)) / 255


SCORER = PixelScorer(
    About(
        name="flicker",
        low=0.0,
        high=1.0,
        better="higher",
        unit="share",
        source="VBench, temporal flickering (Huang et al., CVPR 2024)",
        sees="brightness and colours that jump from frame to frame",
        blind_to="the difference between flicker and motion: what moves counts as flicker, a frozen clip is perfect",
        stillness="prefers",
        minimum_frames=2,
    ),
    flicker,
)
