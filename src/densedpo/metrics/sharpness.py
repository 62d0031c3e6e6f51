"""How sharp the frames of a clip are. No weights."""

from __future__ import annotations

import math

import numpy as np

from densedpo.metrics.flow import full_grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


class Sharpness(Metric):
    """Variance of the Laplacian of grey frames in 0..255, averaged over sampled frames. Noise raises it too."""

    name = "sharpness"
    title = "Sharpness"
    aspect = "quality"
    low, high, better = 0.0, math.inf, "neither"
    source = "LAPV in Pertuz et al., Analysis of focus measure operators (Pattern Recognition 2013)"
    blind_spot = "Noise and codec blocks raise it; motion blur and shallow focus lower it; depends on the frame size."
    packages = ("cv2",)

    def measure(self, clip: Footage, tools: Tools) -> float:
        import cv2

        return float(np.mean([cv2.meanStdDev(cv2.Laplacian(f, cv2.CV_32F))[1][0, 0] ** 2 for f in full_grey(clip)]))


METRICS = (Sharpness(),)
