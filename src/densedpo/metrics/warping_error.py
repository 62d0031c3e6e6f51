"""What changes in a clip beside its motion. No weights."""

from __future__ import annotations

from densedpo.judges.scorers.warping_error import warped_error
from densedpo.metrics.flow import backward_flow, forward_flow, grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Tools


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
        return warped_error(grey(clip), forward_flow(clip), backward_flow(clip))


METRICS = (WarpingError(),)
