"""What the rest of the house asks of a video diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.process import Process
from densedpo.errors import UserError


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
    """How a model is meant to be sampled and sized, as its makers publish it.

    Models with two experts (Wan 2.2 A14B) change over at the noise level `boundary`; `guidance_2` is the scale below.
    """

    steps: int
    guidance: float
    negative_prompt: str
    width: int
    height: int
    frames: int
    fps: float
    guidance_2: float | None = None
    boundary: float | None = None


class VideoModel(Protocol):
    """A text-to-video diffusion model with its text encoder and autoencoder."""

    name: str  # as it was asked for: a folder or a hub id
    folder: Path
    dtype: torch.dtype  # of denoiser and text encoder
    device: torch.device  # where they compute, wherever their weights wait
    model_hash: str  # of the denoiser's, text encoder's and scheduler's files, and of what else they are told
    vae_hash: str
    denoiser: torch.nn.Module
    process: Process
    temporal_factor: int
    padding_frames: int  # leading latent frames that stand for no frame of the clip, and count in no loss
    defaults: SamplingDefaults
    lora_targets: tuple[str, ...]  # names within `denoiser` of the linear layers that an adapter goes on by default

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

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The model's own schedule for so many steps, `[steps + 1]`, descending to 0.

        `shape` is the latents' `(C, F, H', W')`, of the default size if not given: some families shift by the tokens.
        """
        ...

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Noise levels as the family's official trainers draw them, from uniform numbers in (0, 1).

        `shape` is the latents' `(C, F, H', W')`: some families shift by the number of tokens.
        """
        ...

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')` for a clip; UserError naming the nearest valid size if the model cannot take it."""
        ...


def served_sigmas(model: VideoModel) -> tuple[float, float]:
    """Noise levels, from the first up to below the second, at which `model.denoiser` is the network that predicts.

    All of them (0 to infinity), unless the model has experts and trains one of them (its attribute `served_sigmas`).
    """
    low, high = getattr(model, "served_sigmas", (0.0, float("inf")))
    return float(low), float(high)


def given_frames(model: VideoModel) -> int:
    """How many latent frames behind the padding every video of one image shares: they count in no loss.

    1 for an image-to-video model (its attribute `given_frames`), which also has `encode_first_frame(images
    [B, H, W, 3], frames) -> Conditioning` and expects what that gives beside the text; else 0.
    """
    return int(getattr(model, "given_frames", 0))


def uncounted_frames(model: VideoModel) -> int:
    """How many of a video's first latent frames count in no loss and no distance: padding, then given ones."""
    return model.padding_frames + given_frames(model)


def encode_negative(model: VideoModel, prompts: Sequence[str]) -> Conditioning:
    """Negative prompts to what the denoiser is conditioned on, one row each.

    As prompts are encoded, but for a model that encodes them otherwise (its method `encode_negative_text`).
    """
    encode: Callable[[Sequence[str]], Conditioning] = getattr(model, "encode_negative_text", model.encode_text)
    return encode(prompts)


def with_given_frames(model: VideoModel, latents_BCFHW: Tensor, conditioning: Conditioning) -> Tensor:
    """The latents as a model wants to start from them: with the first frame in place, if it has `put_given`."""
    put: Callable[[Tensor, Conditioning], Tensor] | None = getattr(model, "put_given", None)
    return latents_BCFHW if put is None else put(latents_BCFHW, conditioning)


def first_frame_of(conditioning: Conditioning, name: str) -> Tensor:
    """What `encode_first_frame` of the model of that name made of the first frames, the tensor `image`.

    Raises:
        UserError: nobody gave any.
    """
    if "image" not in conditioning.tensors:
        raise UserError(
            f"{name} animates a given first frame, and prompts alone have none: use clips, or a text-to-video model"
        )
    return conditioning.tensors["image"]


def check_frame_rate(model: VideoModel, fps: float) -> None:
    """Refuse a frame rate other than the one a model is told (its attribute `told_fps`), if it is told one.

    Raises:
        UserError: with the way to tell it another.
    """
    told = getattr(model, "told_fps", fps)
    if told != fps:
        raise UserError(
            f"the model is told {told:g} frames a second, but the project has {fps:g}: put "
            f'{{"fps": {fps:g}}} into densedpo.json in its folder ({model.folder}), or make a project of {told:g}'
        )
