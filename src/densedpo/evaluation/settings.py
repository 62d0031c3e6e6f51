"""Settings of an evaluation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from densedpo.config import Settings


class EvaluateSettings(Settings):
    """Whom to compare, and on what."""

    name: str = Field("evaluation", description="Name of this evaluation's folder under runs/.")
    runs: tuple[str, ...] | None = Field(
        None, description="Training runs to compare with the base model; all that are finished if not given."
    )
    prompts: Path | None = Field(
        None,
        description="File of prompts: .txt with one a line, .jsonl or .csv with a column `prompt`; "
        "the tiny world's held-out captions if not given.",
    )
    count: int | None = Field(None, gt=0, description="How many prompts, from the first on; all if not given.")
    seeds_per_prompt: int = Field(2, gt=0, description="Videos that each model makes of a prompt.")
    steps: int | None = Field(None, gt=0, description="Sampling steps; the model's own if not given.")
    guidance: float | None = Field(None, ge=0, description="Guidance scale; the model's own if not given.")
    batch: int = Field(16, gt=0, description="Videos made at once; another batch size changes scores by about 1e-6.")
    seed: int = Field(0, ge=0, description="Seed of the noise that videos start from.")
