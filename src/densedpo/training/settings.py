"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from densedpo.config import Settings


class TrainSettings(Settings):
    """How an adapter is trained. Defaults are the paper's, but rank, batch, steps and lr suit the tiny model."""

    method: Literal["dense", "structural", "vanilla"] = Field(
        default="dense",
        description="dense: segment labels on guided pairs; structural: one label a guided pair; "
        "vanilla: one label an independent pair.",
    )
    reduction: Literal["frame", "segment", "video"] = Field(
        default="frame",
        description="Dense only: one sigmoid per latent frame (appendix E), per segment, or per video (Eq. 7).",
    )
    beta: float = Field(default=500.0, gt=0, description="Strength of the preference, in units of mean squared error.")
    rank: int = Field(default=16, gt=0, description="LoRA rank (the paper: 128 on a large model).")
    alpha: float | None = Field(default=None, gt=0, description="LoRA alpha; the rank if not given.")
    lr: float = Field(default=3e-5, gt=0, description="Peak learning rate of AdamW.")
    warmup: int = Field(default=10, ge=0, description="Steps over which the learning rate rises from zero.")
    steps: int = Field(default=150, gt=0, description="Optimiser steps.")
    batch: int = Field(default=12, gt=0, description="Pairs an optimiser step learns from.")
    micro_batch: int | None = Field(
        default=None,
        gt=0,
        description="Pairs in memory at once; the whole batch if not given. Changes nothing but speed and memory.",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay.")
    clip_norm: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    timesteps: Literal["logit-normal", "model"] = Field(
        default="logit-normal",
        description="Distribution of the training sigma; model: as official trainers of the model's family draw it.",
    )
    timestep_mean: float = Field(default=0.0, description="Mean of the logit-normal sigma, before any shift.")
    timestep_std: float = Field(default=1.0, gt=0, description="Its standard deviation.")
    timestep_shift: float = Field(default=1.0, gt=0, description="Shift applied to the drawn sigma; 1 is none.")
    shared_noise: bool = Field(default=True, description="One noise for both members of a pair (appendix E); else two.")
    minimum_nontie: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Pairs whose share of non-tie segments is not above this are left out (dense).",
    )
    annotators: tuple[str, ...] | None = Field(
        default=None, description="Whose labels count; everybody's if not given."
    )
    confidence_weights: bool = Field(
        default=False, description="Weigh labels by the annotators' agreement and confidence."
    )
    save_every: int = Field(default=25, gt=0, description="Steps between checkpoints.")
    keep: int = Field(default=2, gt=0, description="How many checkpoints to keep.")
    seed: int = Field(default=0, ge=0, description="Seed of all draws.")
