"""Settings of a sweep over the checkpoints of a training run and the scales of its adapter."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from densedpo.config import Settings
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.models.settings import SAMPLER_HELP, SamplerName

# What a sweep passes on to the evaluation that it is, with the same meaning.
SHARED = ["prompts", "dimension", "count", "seeds_per_prompt", "sampler", "steps", "guidance", "guidance_2", "batch"]
SHARED += ["seed", "metrics", "weights", "reward", "workers", "motion_margin"]


class SweepSettings(Settings):
    """Which checkpoints and scales of which run to compare, and on what."""

    run: str = Field(description="The training run whose adapter is to be shipped.")
    name: str | None = Field(None, description="Name of the sweep's folder under runs/; RUN-sweep if not given.")
    checkpoints: tuple[str, ...] = Field(
        ("all",),
        description="all that are kept (see `densedpo train --keep`), last:N of them, or steps such as 100 200.",
    )
    scales: tuple[float, ...] = Field(
        (0.5, 0.75, 1.0, 1.25, 1.5), description="What the adapter's alpha is multiplied by."
    )
    quality: str | None = Field(
        None, description="The metric with a direction that says what is better; named at the start if not given."
    )
    motion: str | None = Field(
        None, description="The amount of motion that is to be kept; motion_strength, if it runs, if not given."
    )
    drift_prompts: Path | None = Field(
        None,
        description="File of prompts that have nothing to do with the preferences, to measure drift on; as --prompts.",
    )
    drift_count: int = Field(16, gt=1, description="How many of them, from the first on.")
    prompts: Path | None = Field(None, description="File of prompts to measure quality on, as of `densedpo evaluate`.")
    dimension: str | None = Field(None, description="Only the prompts of this dimension of VBench's .json file.")
    count: int | None = Field(None, gt=0, description="How many prompts, from the first on; all if not given.")
    seeds_per_prompt: int = Field(1, gt=0, description="Videos that each contestant makes of a prompt.")
    sampler: SamplerName = Field("official", description=SAMPLER_HELP)
    steps: int | None = Field(None, gt=0, description="Sampling steps; the model's own if not given.")
    guidance: float | None = Field(None, ge=0, description="Guidance scale; the model's own if not given.")
    guidance_2: float | None = Field(
        None,
        ge=0,
        description="Guidance scale of the low-noise expert of a model with two; --guidance if that is given, else the "
        "model's own.",
    )
    batch: int = Field(16, gt=0, description="Videos made at once; another batch size changes scores by about 1e-6.")
    seed: int = Field(0, ge=0, description="Seed of the noise that videos start from.")
    metrics: tuple[str, ...] | None = Field(None, description="Metrics to measure; all that can run if not given.")
    weights: tuple[str, ...] | None = Field(None, description="Places of weights that metrics need, as NAME=PATH.")
    reward: tuple[str, ...] | None = Field(
        None, description="Reward models, as NAME=COMMAND or NAME=http://…, as of `densedpo evaluate`."
    )
    workers: int | None = Field(
        None, gt=0, description="Processes that measure videos; one for each core if not given, 1 for few videos."
    )
    motion_margin: float = Field(
        0.1, gt=0, lt=1, description="Share of the base's motion that a contestant may lose and still keep it."
    )

    @field_validator("checkpoints")
    @classmethod
    def _are_checkpoints(cls, chosen: tuple[str, ...]) -> tuple[str, ...]:
        alone = len(chosen) == 1 and re.fullmatch(r"all|last:[1-9]\d*", chosen[0])
        if not alone and not (chosen and all(each.isdigit() for each in chosen)):
            raise ValueError("give all, last:N, or steps such as 100 200")
        return chosen

    @field_validator("scales")
    @classmethod
    def _are_scales(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or min(scales) < 0:
            raise ValueError("give at least one scale, none below 0")
        return tuple(sorted(set(scales)))

    @property
    def folder(self) -> str:
        """The sweep's own name under runs/."""
        return self.name or f"{self.run}-sweep"

    def evaluation(self) -> EvaluateSettings:
        """The evaluation that the sweep is."""
        return EvaluateSettings(name=self.folder, runs=(self.run,), **{name: getattr(self, name) for name in SHARED})
