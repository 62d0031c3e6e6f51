"""Labellers: who says, segment by segment, which video of a pair is better. Loads no torch."""

from densedpo.labels.oracle import LabelReport, OracleLabelSettings, label_oracle
from densedpo.labels.vlm import VlmLabelReport, VlmPlan, label_vlm, plan_vlm, write_vlm_batch
from densedpo.labels.vlm_settings import VlmLabelSettings
from densedpo.labels.vlm_static import VlmStaticReport, static_test_vlm

__all__ = [
    "LabelReport",
    "OracleLabelSettings",
    "VlmLabelReport",
    "VlmLabelSettings",
    "VlmPlan",
    "VlmStaticReport",
    "label_oracle",
    "label_vlm",
    "plan_vlm",
    "static_test_vlm",
    "write_vlm_batch",
]
