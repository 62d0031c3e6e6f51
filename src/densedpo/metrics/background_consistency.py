"""VBench's background consistency: CLIP features of every frame."""

from __future__ import annotations

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import consistency

CLIP_B32 = Need(
    "clip-vit-b32",
    "CLIP ViT-B/32 (a folder of openai/clip-vit-base-patch32)",
    hub="openai/clip-vit-base-patch32",
)


class BackgroundConsistency(Metric):
    """1 if CLIP sees the same scene in every frame."""

    name = "vbench_background_consistency"
    title = "Background consistency (VBench)"
    aspect = "consistency"
    low, high, better = 0.0, 1.0, "higher"
    source = "VBench background_consistency.py"
    blind_spot = "A frozen clip scores a perfect 1; camera motion and changes of scene lower it."
    packages = ("torch", "transformers")
    needs = (CLIP_B32,)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import clip_features

        return consistency(clip_features(clip, tools, tools.required(CLIP_B32)))


METRICS = (BackgroundConsistency(),)
