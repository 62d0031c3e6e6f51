"""Temporal flickering as VBench defines it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer
from densedpo.video.io import Frames


def flicker(frames_THWC: Frames, fps: float) -> float:
    """(255 - mean absolute difference of neighbouring frames) / 255. Raises DeclinedError for a single frame."""
    if len(frames_THWC) < 2:
        raise DeclinedError("flickering needs 2 frames or more")
    steps = [np.abs(np.subtract(one, two, dtype=np.int16)).mean() for one, two in pairwise(frames_THWC)]
    return float((255 - np.mean(steps)) / 255)


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
