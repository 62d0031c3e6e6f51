"""What the rest of the house asks of a video diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.process import Process


@dataclass(frozen=True)
class Conditioning:
    """Everything besides noise and time that a denoiser is given, by the family's own names; first axis: batch."""

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def take(self, rows: Sequence[int] | Tensor) -> Self:
        """The given rows, in the given order; a row may be taken more than once."""
        index = torch.as_tensor(rows)
        return type(self)({k: v[index.to(v.device)] for k, v in self.tensors.items()})

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Join batches of the same family."""
        return cls({k: torch.cat([p.tensors[k] for p in parts]) for k in parts[0].tensors})


@dataclass(frozen=True)
class SamplingDefaults:
    """How a model is meant to be sampled and sized, as its makers publish it."""

    steps: int
    guidance: float
    negative_prompt: str
    width: int
    height: int
    frames: int
    fps: float


class VideoModel(Protocol):
    """A text-to-video diffusion model with its text encoder and autoencoder."""

    folder: Path
    model_hash: str  # of the denoiser's, text encoder's and scheduler's files
    vae_hash: str
    denoiser: torch.nn.Module
    process: Process
    temporal_factor: int
    defaults: SamplingDefaults

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Prompts to what the denoiser is conditioned on, one row each."""
        ...

    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` in 0..255 to normalised latents `[B, C, F, H', W']`, float32."""
        ...

    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        ...

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's prediction in float32, where `noisy_BCFHW` is; with gradients if they are enabled."""
        ...

    def sigmas(self, steps: int) -> Tensor:
        """The model's own schedule for so many steps, `[steps + 1]`, descending to 0."""
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')` for a clip; UserError naming the nearest valid size if the model cannot take it."""
        ...
