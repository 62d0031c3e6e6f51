"""Export: a trained adapter for other programs, with its papers."""

from densedpo.export.settings import ExportSettings

__all__ = ["ExportSettings"]
