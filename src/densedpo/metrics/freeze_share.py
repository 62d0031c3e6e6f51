"""How much of a clip stands still. No weights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from densedpo.metrics.flow import grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric, UnmeasurableError
from densedpo.metrics.tools import Tools

LEVELS = 4  # of 255; a smaller change of a pixel is noise of the codec
PIXELS = 0.001  # a smaller share of changed pixels is nothing that one sees


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
        frames = grey(clip)
        if len(frames) < 2:
            raise UnmeasurableError("a freeze needs 2 sampled frames or more")
        changed = [(np.abs(np.subtract(one, two, dtype=np.int16)) > LEVELS).mean() for one, two in pairwise(frames)]
        return float(np.mean([share < PIXELS for share in changed]))


METRICS = (FreezeShare(),)
