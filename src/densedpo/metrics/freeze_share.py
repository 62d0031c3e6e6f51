"""How much of a clip stands still. No weights."""

from __future__ import annotations

from densedpo.judges.scorers.freeze import freeze_share
from densedpo.metrics.flow import grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


class FreezeShare(Metric):
    """Share of the steps of 1/8 second in which under 0.1% of the pixels change by more than 4 of 255 grey levels."""

    name = "freeze_share"
    title = "Freeze share"
    aspect = "motion"
    low, high, better = 0.0, 1.0, "lower"
    source = "own definition, on grey frames of at most 256 pixels"
    blind_spot = "A static scene is right to stand still; repeated single frames and pauses below 1/8 s are not seen."
    packages = ("cv2",)

    def measure(self, clip: Footage, tools: Tools) -> float:
        return freeze_share(grey(clip))


METRICS = (FreezeShare(),)
