"""How sharp the frames of a clip are. No weights."""

from __future__ import annotations

from densedpo.judges.scorers.sharpness import laplacian_sharpness
from densedpo.metrics.flow import full_grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


class Sharpness(Metric):
    """log2(1 + variance of the Laplacian of grey in 0..255), mean over sampled frames: 1 more is twice the variance."""

    name = "sharpness"
    title = "Sharpness"
    aspect = "quality"
    low, high, better = 0.0, 20.0, "neither"
    source = "LAPV in Pertuz et al., Analysis of focus measure operators (Pattern Recognition 2013)"
    blind_spot = "Noise and codec blocks raise it; motion blur and shallow focus lower it; depends on the frame size."
    packages = ("cv2",)
    version = "2"

    def measure(self, clip: Footage, tools: Tools) -> float:
        return laplacian_sharpness(full_grey(clip))


METRICS = (Sharpness(),)
