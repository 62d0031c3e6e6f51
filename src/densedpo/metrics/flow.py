"""What the weights-free metrics share: frames sampled eight times a second, and optical flow between them.

Sampling is VBench's, so that clips of 8 and of 24 frames a second are measured over equal times. Flow is OpenCV's DIS
(Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) on grey frames whose short side is at most
256 pixels: the fast preset, but searched at half size instead of a quarter, which finds known shifts as exactly as the
medium preset in half its time. Shapes: N sampled frames, h and w of the reduced frames.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import UnmeasurableError
from densedpo.metrics.vbench import sampling_interval

Grey = NDArray[np.uint8]  # [N, H, W] or [N, h, w]
Flow = NDArray[np.float32]  # [N - 1, h, w, 2], pixels (x, y) of the reduced frames

SHORT_SIDE = 256
SMALLEST = 16  # pixels; DIS looks for patches of 8


def rate(clip: Footage) -> float:
    """Sampled frames a second: about 8, or the clip's own rate if that is lower."""
    return clip.fps / sampling_interval(clip.fps)


def full_grey(clip: Footage) -> Grey:
    """Sampled frames in grey at full size, [N, H, W]."""

    def make() -> Grey:
        import cv2

        sampled = clip.frames[:: sampling_interval(clip.fps)]
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in sampled]).astype(np.uint8)

    return clip.once("full grey", make)


def grey(clip: Footage) -> Grey:
    """Sampled frames in grey, averaged down to a short side of at most 256 pixels, [N, h, w]."""

    def make() -> Grey:
        import cv2

        full = full_grey(clip)
        height, width = full.shape[1:]
        scale = SHORT_SIDE / min(height, width)
        if scale >= 1:
            return full
        size = round(width * scale), round(height * scale)
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in full]).astype(np.uint8)

    return clip.once("grey", make)


def forward_flow(clip: Footage) -> Flow:
    """Flow from each sampled frame to the next. Raises UnmeasurableError below 2 frames or 16 pixels."""
    return clip.once("forward flow", lambda: _flow(grey(clip)))


def backward_flow(clip: Footage) -> Flow:
    """Flow from each sampled frame, but the first, to the one before. Raises as `forward_flow`."""
    return clip.once("backward flow", lambda: _flow(grey(clip)[::-1])[::-1])


def _flow(frames: Grey) -> Flow:
    import cv2

    if len(frames) < 2 or min(frames.shape[1:]) < SMALLEST:
        raise UnmeasurableError(f"flow needs 2 sampled frames of {SMALLEST} pixels, the clip has {frames.shape}")
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    method.setFinestScale(1)
    method.setVariationalRefinementIterations(2)
    flows = [method.calc(one, two, None) for one, two in pairwise(frames)]  # type: ignore[call-overload]
    return np.stack(flows).astype(np.float32)
