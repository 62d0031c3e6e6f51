"""VBench's aesthetic quality: LAION's linear head on CLIP features of every frame."""

from __future__ import annotations

import math

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import aesthetic

CLIP_L14 = Need(
    "clip-vit-l14",
    "CLIP ViT-L/14 (a folder of openai/clip-vit-large-patch14)",
    hub="openai/clip-vit-large-patch14",
)
HEAD = Need(
    "laion-aesthetic",
    "LAION's aesthetic head (sa_0_4_vit_l_14_linear.pth)",
    cached=(("vbench", "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),),
)


class AestheticQuality(Metric):
    """How much people would like the frames as pictures; about 0.4 to 0.7 for generated video."""

    name = "vbench_aesthetic_quality"
    title = "Aesthetic quality (VBench)"
    aspect = "quality"
    low, high, better = -math.inf, math.inf, "higher"
    source = "VBench aesthetic_quality.py; a linear head, so nothing bounds it"
    blind_spot = "Looks at single frames: does not see motion at all, so a frozen clip keeps its score."
    packages = ("torch", "transformers")
    needs = (CLIP_L14, HEAD)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import clip_features, linear_head

        weight, bias = tools.once("laion head", lambda: linear_head(tools.required(HEAD)))
        return aesthetic(clip_features(clip, tools, tools.required(CLIP_L14)), weight, bias)


METRICS = (AestheticQuality(),)
