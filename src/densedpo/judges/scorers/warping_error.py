"""Warping error: what is left of the difference of neighbouring frames when their motion is taken out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.judges.scorers.protocol import About, PixelScorer, luma
from densedpo.video.io import Frames

MINIMUM_SIDE = 64  # pixels; DIS works on a pyramid, so smaller frames are enlarged first
# A pixel counts as seen in both frames if |forward + backward flow|^2 is below this share of their lengths, plus 0.5:
# Sundaram, Brox, Keutzer, "Dense point trajectories by GPU-accelerated large displacement optical flow" (ECCV 2010).
SHARE, SLACK = 0.01, 0.5


def warping_error(frames_THWC: Frames, fps: float) -> float:
    """Mean absolute luma error, in 0..255, of each frame against the next one warped back, where both see the same."""
    cv2 = _opencv()
    y_THW = np.round(luma(frames_THWC)).astype(np.uint8)
    short = min(y_THW.shape[1:])
    if short < MINIMUM_SIDE:
        times = -(-MINIMUM_SIDE // short)
        y_THW = y_THW.repeat(times, axis=1).repeat(times, axis=2)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors = [_pair_error(cv2, flow, now, later) for now, later in itertools.pairwise(y_THW)]
    return float(np.mean(errors))


def _pair_error(cv2: Any, flow: Any, now_HW: NDArray[np.uint8], later_HW: NDArray[np.uint8]) -> float:
    if np.array_equal(now_HW, later_HW):
        return 0.0
    forward_HW2 = flow.calc(now_HW, later_HW, None)
    backward_HW2 = flow.calc(later_HW, now_HW, None)
    height, width = now_HW.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at_x, at_y = x + forward_HW2[..., 0], y + forward_HW2[..., 1]
    warped_HW = cv2.remap(later_HW.astype(np.float32), at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    back_HW2 = cv2.remap(backward_HW2, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mismatch = ((forward_HW2 + back_HW2) ** 2).sum(axis=2)
    lengths = (forward_HW2**2).sum(axis=2) + (back_HW2**2).sum(axis=2)
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    seen = inside & (mismatch < SHARE * lengths + SLACK)
    error_HW = np.abs(warped_HW - now_HW)
    return float(error_HW[seen].mean()) if seen.any() else float(error_HW.mean())


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise UserError(
            "warping_error measures motion with OpenCV, which is not installed; pip install 'densedpo[eval]'"
        ) from None
    cv2.setNumThreads(1)  # the same bits on every machine
    return cv2


SCORER = PixelScorer(
    About(
        name="warping_error",
        low=0.0,
        high=255.0,
        better="lower",
        unit="grey levels",
        source="Lai et al., Learning blind video temporal consistency (ECCV 2018), with DIS flow (ECCV 2016)",
        sees="texture that boils, jumps or fades between neighbouring frames although its motion is taken out",
        blind_to="wrong but smooth motion, blur, the caption; motion that the flow misses counts as error, and a "
        "frozen clip is perfect",
        stillness="prefers",
        minimum_frames=2,
    ),
    warping_error,
)
