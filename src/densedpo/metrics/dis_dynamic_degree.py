"""Dynamic degree by OpenCV's DIS flow, with VBench's sampling and threshold. No weights."""

from __future__ import annotations

from densedpo.metrics.flow import forward_flow, grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools
from densedpo.metrics.vbench import is_dynamic, top_magnitude


def top_magnitudes(clip: Footage) -> list[float]:
    """VBench's score of each sampled step, in pixels of the reduced frames. Raises as `forward_flow`."""
    return clip.once("top magnitudes", lambda: [top_magnitude(flow) for flow in forward_flow(clip)])


class DisDynamicDegree(Metric):
    """1 for a clip that moves, 0 for one that does not; its mean is the share of dynamic clips."""

    name = "dis_dynamic_degree"
    title = "Dynamic degree (DIS flow)"
    aspect = "motion"
    amount = True
    low, high, better = 0.0, 1.0, "neither"
    source = "VBench dynamic_degree.py, with OpenCV DIS flow in the place of RAFT"
    blind_spot = "Any motion counts, a camera shake or flicker too; above the threshold it cannot tell more from less."
    packages = ("cv2",)

    def measure(self, clip: Footage, tools: Tools) -> float:
        magnitudes, frames = top_magnitudes(clip), grey(clip)
        return float(is_dynamic(magnitudes, len(frames), min(frames.shape[1:])))


METRICS = (DisDynamicDegree(),)
