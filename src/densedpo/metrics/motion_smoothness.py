"""VBench's motion smoothness: AMT-S makes the odd frames from the even ones."""

from __future__ import annotations

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric, UnmeasurableError
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import smoothness

AMT = Need(
    "amt-s",
    "AMT-S, whose network is in no package (github.com/MCG-NKU/AMT): save it with torch.export.save as a program that "
    "takes two frames [1, 3, H, W] in 0..1 and returns the one between",
)


class MotionSmoothness(Metric):
    """1 if each odd frame is what an interpolator expects between its neighbours."""

    name = "vbench_motion_smoothness"
    title = "Motion smoothness (VBench)"
    aspect = "consistency"
    low, high, better = 0.0, 1.0, "higher"
    source = "VBench motion_smoothness.py, without its scaling for small graphics cards"
    blind_spot = "A frozen clip scores a perfect 1; fast motion lowers it even where it is right."
    packages = ("torch",)
    needs = (AMT,)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import interpolated_frames

        if len(clip.frames) < 3:
            raise UnmeasurableError("motion smoothness needs 3 frames or more")
        return smoothness(clip.frames, interpolated_frames(clip.frames, tools, tools.required(AMT)))


METRICS = (MotionSmoothness(),)
