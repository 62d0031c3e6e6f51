"""Opinions from other programs' files: pairs of mode `imported`, and labels on them. Formats: docs/exchange.md."""

from densedpo.labels.imported.label_studio import import_label_studio
from densedpo.labels.imported.rewardbench import import_rewardbench

__all__ = ["import_label_studio", "import_rewardbench"]
