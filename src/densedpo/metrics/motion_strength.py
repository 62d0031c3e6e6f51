"""Dynamic degree without its threshold: how much moves, as a continuous number. No weights."""

from __future__ import annotations

import math

import numpy as np

from densedpo.metrics.dis_dynamic_degree import top_magnitudes
from densedpo.metrics.flow import grey, rate
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


class MotionStrength(Metric):
    """Speed of the fastest 5% of pixels, in short sides of the frame a second.

    VBench's threshold, 6 pixels of 256 in an eighth of a second, is 0.1875 in this unit.
    """

    name = "motion_strength"
    title = "Motion strength"
    aspect = "motion"
    amount = True
    low, high, better = 0.0, math.inf, "neither"
    source = "mean over sampled steps of VBench's top-5% flow magnitude (OpenCV DIS), per second and short side"
    blind_spot = "Flicker and melting shapes look like motion to optical flow; more is not better."
    packages = ("cv2",)

    def measure(self, clip: Footage, tools: Tools) -> float:
        return float(np.mean(top_magnitudes(clip)) * rate(clip) / min(grey(clip).shape[1:]))


METRICS = (MotionStrength(),)
