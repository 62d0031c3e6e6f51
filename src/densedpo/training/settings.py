"""Settings of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from densedpo.config import Settings


class TrainSettings(Settings):
    """How an adapter is trained. Defaults are the paper's, but rank, batch, steps and lr suit the tiny model."""

    method: Literal["dense", "structural", "vanilla", "sft"] = Field(
        default="dense",
        description="dense: segment labels on guided pairs; structural: one label a guided pair; "
        "vanilla: one label an independent pair; sft: plain flow matching, no preference.",
    )
    reduction: Literal["frame", "segment", "video"] = Field(
        default="frame",
        description="Dense only: one sigmoid per latent frame (appendix E), per segment, or per video (Eq. 7).",
    )
    video_labels: Literal["whole", "majority"] = Field(
        default="whole",
        description="structural, vanilla: labels given to the whole video, or the majority vote of its segments'.",
    )
    sft_on: Literal["clips", "winners"] = Field(
        default="clips", description="sft: the real clips, or the better videos of the guided pairs (video_labels)."
    )
    beta: float = Field(default=500.0, gt=0, description="Strength of the preference, in units of beta_unit.")
    beta_unit: Literal["mean", "sum"] = Field(
        default="mean",
        description="Whether beta multiplies errors averaged over a latent frame (a video), or summed; "
        "beta_mean = elements * beta_sum.",
    )
    loss: Literal["sigmoid", "ipo"] = Field(
        default="sigmoid", description="sigmoid: DPO's -log sigmoid; ipo: squared, never saturates (arXiv 2310.12036)."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="Share of labels taken to be wrong (conservative DPO); sigmoid only."
    )
    safeguard: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Slack mu of Diffusion-SDPO (arXiv 2511.03317): shrink the loser's gradient so that the winner's "
        "error does not rise; 0 just so, 1 leaves the loser out where both pull alike.",
    )
    anchor: float = Field(
        default=0.0, ge=0, description="Weight of the winner's own flow-matching error, added to the loss."
    )
    similar_below: float = Field(
        default=0.0,
        ge=0,
        description="Latent positions where a and b differ by at most this (mean over channels of |a - b|, normalised "
        "latents) are ties.",
    )
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
    sigma_low: float = Field(default=0.0, ge=0, lt=1, description="Train on no noise level below this.")
    sigma_high: float = Field(default=1.0, gt=0, le=1, description="Train on no noise level from this upward.")
    stratified: bool = Field(
        default=False, description="Spread a batch's noise levels evenly over their distribution: less noisy steps."
    )
    sigma_weight: Literal["none", "sigma", "one-minus-sigma"] = Field(
        default="none",
        description="Weigh pairs by their noise level: sigma for structure and motion, one-minus-sigma for detail.",
    )
    shared_noise: bool = Field(default=True, description="One noise for both members of a pair (appendix E); else two.")
    reference_draws: int | None = Field(
        default=None,
        gt=0,
        description="Give each pair this many fixed draws of noise level and noise, and keep the reference's errors on "
        "them on disk, for all runs: no reference forward in training. Fresh draws each step if not given.",
    )
    two_pass: bool = Field(
        default=False,
        description="Errors first without gradient, then one member at a time: the same step with half the memory.",
    )
    autocast: Literal["none", "bfloat16"] = Field(
        default="none", description="Run the denoiser's matrix products in bfloat16, with weights as they were loaded."
    )
    checkpointing: bool = Field(
        default=False, description="Keep no activations inside blocks; compute them again in the backward pass."
    )
    compile: bool = Field(default=False, description="Compile the denoiser's repeated blocks (torch.compile).")
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="Of several processes: each holds all of the frozen weights, or its part of them (FSDP2); "
        "tried with two processes on a CPU alone.",
    )
    context_parallel: bool = Field(
        default=False,
        description="Several processes share each video, not the batch (diffusers' context parallelism, Ulysses); "
        "tried with two processes on a CPU alone.",
    )
    init_adapter: Path | None = Field(
        default=None, description="Start from this adapter (the `adapter` folder of a run) of the same rank and alpha."
    )
    reference_adapter: Path | None = Field(
        default=None, description="The reference is the base with this adapter, as after sft or in a second round."
    )
    minimum_nontie: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Pairs whose share of non-tie segments is not above this are left out (dense).",
    )
    annotators: tuple[str, ...] | None = Field(
        default=None, description="Whose labels count; everybody's if not given."
    )
    consensus: Literal["majority", "weighted", "dawid-skene"] = Field(
        default="majority",
        description="How many labels become one: most votes, votes weighted by each annotator's measured accuracy, or "
        "the most probable answer by Dawid and Skene's model.",
    )
    humans_override: bool = Field(default=False, description="Where a person has an opinion, machines have none.")
    minimum_confidence: float = Field(
        default=0.0, ge=0, le=1, description="Share of votes, or probability, below which a segment is unlabelled."
    )
    confidence_weights: bool = Field(
        default=False, description="Weigh labels by the annotators' agreement and confidence."
    )
    guard: Literal["off", "warn", "stop"] = Field(
        default="warn", description="What to do when training goes wrong in a known way: say so, or also stop."
    )
    validate_every: int | None = Field(
        default=None, gt=0, description="Steps between losses on labelled pairs of the validation split."
    )
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] | None = Field(
        default=None,
        description="Where the log goes besides log.jsonl, by Accelerate's names; tensorboard if installed by default.",
    )
    save_every: int = Field(default=25, gt=0, description="Steps between checkpoints.")
    keep: int = Field(default=2, gt=0, description="How many checkpoints to keep.")
    seed: int = Field(default=0, ge=0, description="Seed of all draws.")
    sample_every: int | None = Field(
        default=None, gt=0, description="Steps between clips of held-out prompts, always from the same noise."
    )
    sample_prompts: Path | None = Field(
        default=None,
        description="File of their prompts, one a line; without it, those of four held-out pairs or clips.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sigma_low >= self.sigma_high:
            raise ValueError(f"sigma_low {self.sigma_low:g} must lie below sigma_high {self.sigma_high:g}")
        if self.timesteps == "model" and (self.sigma_low > 0 or self.sigma_high < 1):
            raise ValueError("sigma_low and sigma_high shape the logit-normal draw: leave timesteps as it is")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing belongs to the sigmoid loss: leave it out with loss ipo")
        if self.context_parallel and self.reference_draws is not None:
            raise ValueError("context_parallel and reference_draws cannot be combined: leave one of them out")
        return self

    def beta_mean(self, shape: tuple[int, int, int, int]) -> float:
        """beta in units of mean squared error, for latents of shape `(C, F, H', W')`, F of those frames that count."""
        channels, frames, height, width = shape
        elements = channels * height * width * (1 if self.method == "dense" else frames)
        return self.beta * elements if self.beta_unit == "sum" else self.beta
