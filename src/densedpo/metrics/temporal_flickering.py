"""VBench's temporal flickering. No weights."""

from __future__ import annotations

from densedpo.judges.scorers.flicker import flicker
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


class TemporalFlickering(Metric):
    """1 if consecutive frames are equal; any change lowers it, motion too: VBench asks it of static scenes only."""

    name = "temporal_flickering"
    title = "Temporal flickering"
    aspect = "consistency"
    low, high, better = 0.0, 1.0, "neither"
    source = "VBench temporal_flickering.py"
    blind_spot = "A frozen clip scores a perfect 1 and all motion lowers it: VBench asks it of static scenes only."

    def measure(self, clip: Footage, tools: Tools) -> float:
        return flicker(clip.frames, clip.fps)


METRICS = (TemporalFlickering(),)
