"""Labellers: who says, segment by segment, which video of a pair is better. Loads no torch."""

from densedpo.labels.oracle import LabelReport, OracleLabelSettings, label_oracle

__all__ = ["LabelReport", "OracleLabelSettings", "label_oracle"]
