"""How a model is loaded: precision, place, and the ways to make a large one fit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from densedpo.config import Settings

Offload = Literal["none", "model", "sequential"]
Quantise = Literal["none", "nf4", "int8", "torchao-int8"]
Expert = Literal["low", "high"]
SamplerName = Literal["euler", "official", "unipc", "dpm++", "sde-dpm++"]
SAMPLER_HELP = (
    "euler (DDIM for CogVideoX); official: the one that the checkpoint names; unipc and dpm++ for Wan, SkyReels V2 "
    "and SANA-Video; sde-dpm++ for CogVideoX."
)


class LoadSettings(Settings):
    """How to load a model. Precision and quantisation change what it draws; the rest does not, but for rounding."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Precision of denoiser and text encoder; auto: bfloat16 on a GPU, float32 on the CPU. The "
        "autoencoder stays in float32.",
    )
    device: str | None = Field(default=None, description="cuda, cuda:1, cpu, ...; a GPU if there is one.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub model; its main branch.")
    offload: Offload = Field(
        default="none",
        description="Keep in main memory what is not in use: model moves whole parts to the GPU, sequential single "
        "layers (least memory, slow, not for training).",
    )
    quantise: Quantise = Field(
        default="none",
        description="Keep the denoiser's weights in 4 or 8 bits: nf4 and int8 through bitsandbytes, torchao-int8 "
        "through torchao.",
    )
    attention: str | None = Field(
        default=None, description="Attention backend by diffusers' name (native, flash, _flash_3_hub, sage, ...)."
    )
    tiled_vae: bool = Field(
        default=False, description="Encode and decode clips in overlapping tiles: less memory, faint seams."
    )
    expert: Expert = Field(
        default="low",
        description="Which expert to train of a model with two (Wan 2.2 A14B): low serves the low noise levels, the "
        "only ones that guided pairs pass through.",
    )
