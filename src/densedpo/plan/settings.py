"""Settings of a plan."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from densedpo.config import Settings


class PlanSettings(Settings):
    """What is to be made and trained, and on what. Pairs, steps, batch and rank are the paper's if not given."""

    frames: int | None = Field(default=None, gt=0, description="Frames of a clip; the model's own if not given.")
    width: int | None = Field(default=None, gt=0, description="Width of a clip; the model's own if not given.")
    height: int | None = Field(default=None, gt=0, description="Height of a clip; the model's own if not given.")
    pairs: int = Field(default=10_000, gt=0, description="Pairs to make.")
    eta: float = Field(default=0.725, gt=0, le=1, description="Noise level at which the members of a pair start.")
    sampling_steps: int | None = Field(
        default=None, gt=0, description="Sampling steps of the whole schedule; the model's own if not given."
    )
    guidance: float | None = Field(
        default=None, ge=0, description="Guidance scale; the model's own if not given. Above 1 it doubles the forwards."
    )
    steps: int = Field(default=1000, gt=0, description="Optimiser steps.")
    batch: int = Field(default=256, gt=0, description="Pairs an optimiser step learns from, on all GPUs together.")
    micro_batch: int = Field(default=1, gt=0, description="Pairs in the memory of one GPU at once.")
    rank: int = Field(default=128, gt=0, description="LoRA rank.")
    precision: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16", description="Of denoiser and text encoder; adapter and autoencoder are in float32."
    )
    checkpointing: bool = Field(
        default=True, description="Compute activations again in the backward pass instead of keeping them."
    )
    gpus: int = Field(default=1, gt=0, description="How many GPUs.")
    sharding: Literal["none", "fsdp"] = Field(
        default="none", description="none: each GPU holds the whole denoiser; fsdp: its share of it."
    )
    offload: Literal["none", "model"] = Field(
        default="none", description="model: all but the denoiser that is trained waits in main memory."
    )
    gpu_tflops: float = Field(
        default=312.0, gt=0, description="Peak of one GPU in TFLOP/s at this precision; 312 is an A100's, bfloat16."
    )
    efficiency: float = Field(default=0.4, gt=0, le=1, description="The share of that peak which is reached.")
    gpu_rate: float | None = Field(default=None, ge=0, description="Price of one GPU for one hour, in your currency.")
