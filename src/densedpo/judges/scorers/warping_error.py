"""Warping error: what is left of the difference of neighbouring frames when their motion is taken out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from densedpo.judges.scorers.motion import Flow, Grey, flow, opencv, reduced, sampled_grey
from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer
from densedpo.video.io import Frames

Plane = NDArray[np.float32]  # [h, w]

# A pixel counts as seen in both frames if |forward + backward flow|^2 is at most this share of their lengths, plus 0.5:
# Sundaram, Brox, Keutzer, "Dense point trajectories by GPU-accelerated large displacement optical flow" (ECCV 2010).
SHARE, SLACK = 0.01, 0.5


def warping_error(frames_THWC: Frames, fps: float) -> float:
    """`warped_error` of the sampled frames."""
    grey_Nhw = reduced(sampled_grey(frames_THWC, fps))
    return warped_error(grey_Nhw, flow(grey_Nhw), flow(grey_Nhw[::-1])[::-1])


def warped_error(grey_Nhw: Grey, forward_flow: Flow, backward_flow: Flow) -> float:
    """Root mean square difference, in [0, 1] grey, of each frame and the next one warped back onto it.

    Pixels whose forward and backward flow disagree (hidden or coming into view) do not count.

    Args:
        backward_flow: from each frame, but the first, to the one before.

    Raises:
        DeclinedError: no pixel counts.
    """
    steps = zip(grey_Nhw[:-1], grey_Nhw[1:], forward_flow, backward_flow, strict=True)
    errors = [error for step in steps if (error := _step_error(*step)) is not None]
    if not errors:
        raise DeclinedError("forward and backward flow agree nowhere")
    return float(np.sqrt(np.mean(errors)))


def _step_error(one: NDArray[np.uint8], two: NDArray[np.uint8], there: Flow, back: Flow) -> float | None:
    """Mean square error over the pixels that both frames show; None if there are none."""
    cv2 = opencv()
    height, width = one.shape
    x = there[..., 0] + np.arange(width, dtype=np.float32)
    y = there[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped = np.asarray(cv2.remap(two, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    returned = np.asarray(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)
    seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    seen &= _square(there + returned) <= SHARE * (_square(there) + _square(returned)) + SLACK
    error = (np.square(np.subtract(one, warped, dtype=np.float32)) * seen).sum(dtype=np.float64)
    return float(error / seen.sum()) / 255**2 if seen.any() else None


def _square(flow_hw2: NDArray[np.float32]) -> Plane:
    squared: Plane = flow_hw2[..., 0] ** 2 + flow_hw2[..., 1] ** 2
    return squared


SCORER = PixelScorer(
    About(
        name="warping_error",
        low=0.0,
        high=1.0,
        better="lower",
        unit="root mean square of grey, 0 to 1",
        source="Lai et al., Learning blind video temporal consistency (ECCV 2018), with DIS flow (ECCV 2016)",
        sees="texture that boils, jumps or fades between neighbouring frames although its motion is taken out",
        blind_to="wrong but smooth motion, blur, the caption; motion that the flow misses counts as error, and a "
        "frozen clip is perfect",
        stillness="prefers",
        minimum_frames=2,
    ),
    warping_error,
    version="2",
)
