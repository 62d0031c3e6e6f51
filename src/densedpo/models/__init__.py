"""Real models behind one protocol; the family comes from the checkpoint's own `model_index.json`."""

from densedpo.models.load import load_model

__all__ = ["load_model"]
