"""Freeze: the share of frames that repeat the one before."""

from __future__ import annotations

import numpy as np

from densedpo.judges.scorers.protocol import About, PixelScorer
from densedpo.video.io import Frames

SAME = 0.255  # mean absolute difference of 0..255 values: a thousandth of the range, ffmpeg freezedetect's default


def freeze(frames_THWC: Frames, fps: float) -> float:
    """The share of steps from frame to frame in which the picture changes by at most a thousandth of its range."""
    steps = np.abs(np.diff(frames_THWC.astype(np.int16), axis=0))
    return float((steps.mean(axis=(1, 2, 3), dtype=np.float64) <= SAME).mean())


SCORER = PixelScorer(
    About(
        name="freeze",
        low=0.0,
        high=1.0,
        better="lower",
        unit="share of frames",
        source="ffmpeg, filter freezedetect, with its default noise tolerance of 0.001",
        sees="clips that stop, or show each frame several times",
        blind_to="everything in a clip that moves; a clip that is rightly still counts as bad",
        stillness="avoids",
        minimum_frames=2,
    ),
    freeze,
)
