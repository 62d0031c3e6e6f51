"""VBench's subject consistency: DINO features of every frame."""

from __future__ import annotations

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import consistency

DINO = Need(
    "dino-vitb16",
    "DINO ViT-B/16 (a folder of facebook/dino-vitb16, or dino_vitbase16_pretrain.pth)",
    hub="facebook/dino-vitb16",
    cached=(("torch", "dino_vitbase16_pretrain.pth"),),
)


class SubjectConsistency(Metric):
    """1 if DINO sees the same subject in every frame."""

    name = "vbench_subject_consistency"
    title = "Subject consistency (VBench)"
    aspect = "consistency"
    low, high, better = 0.0, 1.0, "higher"
    source = "VBench subject_consistency.py"
    blind_spot = "A frozen clip scores a perfect 1; turning, hiding and camera motion lower it."
    packages = ("torch", "transformers")
    needs = (DINO,)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import dino_features

        return consistency(dino_features(clip, tools, tools.required(DINO)))


METRICS = (SubjectConsistency(),)
