"""VBench's imaging quality: MUSIQ, trained on SPAQ, looks at every frame."""

from __future__ import annotations

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import imaging

MUSIQ = Need(
    "musiq-spaq",
    "MUSIQ-SPAQ, whose network is in the package pyiqa: save it with torch.export.save as a program that takes a frame "
    "[1, 3, H, W] in 0..1 and returns its score of 100",
)


class ImagingQuality(Metric):
    """Freedom of the frames from blur, noise and bad exposure."""

    name = "vbench_imaging_quality"
    title = "Imaging quality (VBench)"
    aspect = "quality"
    low, high, better = 0.0, 1.0, "higher"
    source = "VBench imaging_quality.py"
    blind_spot = "Looks at single frames: a frozen clip keeps its score, and motion blur lowers it."
    packages = ("torch",)
    needs = (MUSIQ,)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import frame_scores

        return imaging(frame_scores(clip.frames, tools, tools.required(MUSIQ)))


METRICS = (ImagingQuality(),)
