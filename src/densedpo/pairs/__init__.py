"""Aligned pairs: one real clip, one noise level, two seeds (or two independent samples of a prompt)."""

from densedpo.pairs.settings import PairSettings, PreviewSettings

__all__ = ["PairSettings", "PreviewSettings"]
