"""Settings of the pair stage."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from densedpo.config import Settings
from densedpo.models.settings import SAMPLER_HELP, SamplerName


class PairSettings(Settings):
    """What pairs to make, and how. `count`, `split`, `near_identical` and `batch` are not part of a recipe."""

    mode: Literal["guided", "independent"] = Field(
        default="guided",
        description="guided: both members start from one partly noised real clip; independent: from noise alone.",
    )
    count: int | None = Field(
        default=None, gt=0, description="How many pairs; all clips of the split once if not given."
    )
    split: Literal["train", "validation", "test"] = Field(default="train", description="Which clips to use.")
    eta_low: float = Field(
        default=0.65, gt=0, le=1, description="Lowest noise level; each pair draws one, shared by a and b."
    )
    eta_high: float = Field(default=0.80, gt=0, le=1, description="Highest noise level.")
    eta_unit: Literal["sigma", "step_fraction"] = Field(
        default="sigma",
        description="sigma: eta is the noise level itself; step_fraction: the share of sampling steps that are run.",
    )
    sampler: SamplerName = Field(default="euler", description=SAMPLER_HELP)
    steps: int | None = Field(
        default=None, gt=0, description="Sampling steps of the whole schedule; the model's own if not given."
    )
    guidance: float | None = Field(
        default=None, ge=0, description="Classifier-free guidance scale; the model's own if not given."
    )
    negative_prompt: str | None = Field(default=None, description="The model's own if not given.")
    near_identical: float = Field(
        default=0.05,
        ge=0,
        description="Pairs whose latents differ by less (mean absolute difference) are marked, and not labelled.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of all draws.")
    batch: int = Field(
        default=4, gt=0, description="Pairs made at once; another batch size changes results by about 1e-6."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.eta_low > self.eta_high:
            raise ValueError(f"eta_low {self.eta_low:g} is above eta_high {self.eta_high:g}: swap them")
        return self


class PreviewSettings(Settings):
    """An eta preview: a few clips, each denoised from several noise levels with two seeds."""

    etas: tuple[float, ...] = Field(default=(0.5, 0.65, 0.725, 0.8, 0.9), description="Noise levels (sigma) to show.")
    clips: int = Field(default=3, gt=0, description="How many clips of the train split.")
    sampler: SamplerName = Field(default="euler", description=SAMPLER_HELP)
    steps: int | None = Field(default=None, gt=0, description="Sampling steps; the model's own if not given.")
    guidance: float | None = Field(default=None, ge=0, description="Guidance scale; the model's own if not given.")
    seed: int = Field(default=0, ge=0, description="Seed of all draws.")

    @field_validator("etas")
    @classmethod
    def _noise_levels(cls, etas: tuple[float, ...]) -> tuple[float, ...]:
        if not etas or not all(0 < eta <= 1 for eta in etas):
            raise ValueError("give noise levels above 0 and at most 1")
        return etas
