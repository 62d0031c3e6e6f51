"""Settings of an evaluation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from densedpo.config import Settings
from densedpo.models.settings import SAMPLER_HELP, SamplerName


class EvaluateSettings(Settings):
    """Whom to compare, and on what."""

    name: str = Field("evaluation", description="Name of this evaluation's folder under runs/.")
    runs: tuple[str, ...] | None = Field(
        None, description="Training runs to compare with the base model; all that are finished if not given."
    )
    videos: tuple[str, ...] | None = Field(
        None,
        description="Folders of finished clips from anywhere, as NAME=DIR, matched by file name (0003-1.mp4, or the "
        "same names in all folders). Without --runs no model is loaded, and the first one is the baseline.",
    )
    reference: Path | None = Field(
        None, description="Folder of the real clips that guided the clips, matched by file name."
    )
    prompts: Path | None = Field(
        None,
        description="File of prompts: .txt with one a line, .jsonl or .csv with a column `prompt`, VBench's .json; or "
        "`motion`, a set that comes along; the tiny world's held-out captions if not given.",
    )
    dimension: str | None = Field(None, description="Only the prompts of this dimension of VBench's .json file.")
    count: int | None = Field(None, gt=0, description="How many prompts, from the first on; all if not given.")
    seeds_per_prompt: int = Field(2, gt=0, description="Videos that each model makes of a prompt.")
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
    shard: str | None = Field(
        None,
        pattern=r"^[1-9]\d*/[1-9]\d*$",
        description="Make only this part of the videos, such as 2/8, and score none; the same command without it "
        "scores all.",
    )
    metrics: tuple[str, ...] | None = Field(None, description="Metrics to measure; all that can run if not given.")
    weights: tuple[str, ...] | None = Field(
        None, description="Places of weights that metrics need, as NAME=PATH; the evaluation names what it misses."
    )
    reward: tuple[str, ...] | None = Field(
        None,
        description="Reward models, as NAME=COMMAND or NAME=http://…, by the contract of `densedpo label reward`.",
    )
    workers: int | None = Field(
        None, gt=0, description="Processes that measure videos; one for each core if not given, 1 for few videos."
    )
    motion_margin: float = Field(
        0.1, gt=0, lt=1, description="Share of the baseline's motion that a contestant may lose and still keep it."
    )
