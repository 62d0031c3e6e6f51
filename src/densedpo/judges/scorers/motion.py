"""What scorers and metrics without weights look at: grey frames, eight a second, and optical flow between them.

Sampling is VBench's, so that clips of 8 and of 24 frames a second are measured over equal times. Flow is OpenCV's DIS
(Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) on grey frames whose short side is at most
256 pixels: the fast preset, but searched at half size instead of a quarter, which finds known shifts as exactly as the
medium preset in half its time. Shapes: N sampled frames, H and W pixels, h and w of the reduced frames.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.judges.scorers.protocol import DeclinedError
from densedpo.video.io import Frames

Grey = NDArray[np.uint8]  # [N, H, W] or [N, h, w]
Flow = NDArray[np.float32]  # [N - 1, h, w, 2], pixels (x, y) of the reduced frames

SHORT_SIDE = 256
SMALLEST = 16  # pixels; DIS looks for patches of 8


def sampling_interval(fps: float) -> int:
    """Every so many-th frame is looked at: max(1, round(fps / 8)), as VBench's dynamic degree does."""
    return max(1, round(fps / 8))


def sampled_grey(frames_THWC: Frames, fps: float) -> Grey:
    """Sampled frames in grey at full size, [N, H, W]."""
    cv2 = opencv()
    sampled = frames_THWC[:: sampling_interval(fps)]
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in sampled], dtype=np.uint8)


def reduced(grey_NHW: Grey) -> Grey:
    """The frames averaged down to a short side of at most 256 pixels, [N, h, w]."""
    cv2 = opencv()
    height, width = grey_NHW.shape[1:]
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return grey_NHW
    size = round(width * scale), round(height * scale)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in grey_NHW], dtype=np.uint8)


def flow(grey_Nhw: Grey) -> Flow:
    """Flow from each frame to the next. Raises DeclinedError below 2 frames or 16 pixels."""
    cv2 = opencv()
    if len(grey_Nhw) < 2 or min(grey_Nhw.shape[1:]) < SMALLEST:
        raise DeclinedError(f"flow needs 2 sampled frames of {SMALLEST} pixels, the clip has {grey_Nhw.shape}")
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.setFinestScale(1)
    method.setVariationalRefinementIterations(2)
    return np.stack([method.calc(one, two, None) for one, two in pairwise(grey_Nhw)], dtype=np.float32)


def opencv() -> Any:
    """The module, on one thread: DIS cuts its work by threads, so their number would change the flow."""
    try:
        import cv2
    except ImportError:
        raise UserError("this scorer needs OpenCV, which is not installed; pip install 'densedpo[eval]'") from None
    cv2.setNumThreads(1)
    return cv2
