"""Evaluation: base and tuned models on held-out prompts, from the same noise."""

from densedpo.evaluation.settings import EvaluateSettings

__all__ = ["EvaluateSettings"]
