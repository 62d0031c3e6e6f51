"""What changes in a clip beside its motion. No weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from densedpo.metrics.flow import Flow, backward_flow, forward_flow, grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric, UnmeasurableError
from densedpo.metrics.tools import Tools

Plane = NDArray[np.float32]  # [h, w]


class WarpingError(Metric):
    """Root mean square difference, in [0, 1] grey, of each sampled frame and the next one warped back onto it.

    Pixels whose forward and backward flow disagree (hidden or coming into view) do not count.
    """

    name = "warping_error"
    title = "Warping error"
    aspect = "consistency"
    low, high, better = 0.0, 1.0, "lower"
    source = "Lai et al., Learning Blind Video Temporal Consistency (ECCV 2018); here grey, DIS flow, as a root"
    blind_spot = "A frozen clip scores a perfect 0, and blur lowers it: read it beside an amount of motion."
    packages = ("cv2",)

    def measure(self, clip: Footage, tools: Tools) -> float:
        frames = grey(clip)
        steps = zip(frames[:-1], frames[1:], forward_flow(clip), backward_flow(clip), strict=True)
        errors = [error for step in steps if (error := _step_error(*step)) is not None]
        if not errors:
            raise UnmeasurableError("forward and backward flow agree nowhere")
        return float(np.sqrt(np.mean(errors)))


def _step_error(one: NDArray[np.uint8], two: NDArray[np.uint8], there: Flow, back: Flow) -> float | None:
    """Mean square error over the pixels that both frames show; None if there are none."""
    import cv2

    height, width = one.shape
    x = there[..., 0] + np.arange(width, dtype=np.float32)
    y = there[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped = np.asarray(cv2.remap(two, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    returned = np.asarray(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)
    seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    seen &= _square(there + returned) <= 0.01 * (_square(there) + _square(returned)) + 0.5
    error = (np.square(np.subtract(one, warped, dtype=np.float32)) * seen).sum(dtype=np.float64)
    return float(error / seen.sum()) / 255**2 if seen.any() else None


def _square(flow: NDArray[np.float32]) -> Plane:
    squared: Plane = flow[..., 0] ** 2 + flow[..., 1] ** 2
    return squared


METRICS = (WarpingError(),)
