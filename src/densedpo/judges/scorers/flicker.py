"""Temporal flickering as VBench defines it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer
from densedpo.video.io import Frame, Frames


def flicker(frames_THWC: Frames, fps: float) -> float:
    """(255 - mean absolute difference of neighbouring frames) / 255. Raises DeclinedError for a single frame."""
    if len(frames_THWC) < 2:
        raise DeclinedError("flickering needs 2 frames or more")
    return float((255 - np.mean([_difference(one, two) for one, two in pairwise(frames_THWC)])) / 255)


def _difference(one_HWC: Frame, two_HWC: Frame) -> float:
    """Mean absolute difference in 0..255, exactly; in bytes, which is several times as fast as in wider numbers."""
    apart = np.maximum(one_HWC, two_HWC) - np.minimum(one_HWC, two_HWC)
    rows = apart.reshape(len(apart), -1).sum(axis=1, dtype=np.uint32)
    return float(rows.sum(dtype=np.uint64)) / apart.size


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
