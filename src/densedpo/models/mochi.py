"""Mochi text-to-video models (`MochiPipeline`): rectified flow, T5 text, a causal autoencoder with factors 6 and 8.

Mochi's own sigmas ascend from noise (0) to clip (1) and its network predicts x - eps. Only `predict` knows: it tells
the network 1 - sigma and turns the sign, so that everything else sees plain rectified flow.

Shapes: B batch, C channels, F latent frames, H height, W width, L text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, MochiPipeline
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.protocol import Conditioning
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor, latent_grid, latent_statistics, tensor_to_clips
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, sampling_defaults, side_defaults
from densedpo.models.t5 import encode_with_mask

PIPELINES = ("MochiPipeline",)
SIZES = ("Mochi 1 preview 10B",)
FRAME_RULE = "1 + 6k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling with Euler, encoding, decoding and adapters equal diffusers' on tiny random weights; published weights "
    "were not run here"
)

# From demos/cli.py of the official repository (genmoai/mochi); 30 frames a second from its fine-tuner.
OFFICIAL_DEFAULTS = {
    "steps": 64,
    "guidance": 4.5,
    "negative_prompt": "",
    "width": 848,
    "height": 480,
    "frames": 163,
    "fps": 30.0,
    "max_sequence_length": 256,
}
THRESHOLD_NOISE = 0.025  # where the schedule turns from linear to quadratic, in `MochiPipeline` and the official code
LORA_LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")  # the default of the Mochi trainer in cogvideox-factory


class MochiModel:
    """A Mochi checkpoint as a `VideoModel`."""

    process = RectifiedFlow()
    padding_frames = 0

    def __init__(
        self, folder: Path, pipeline: MochiPipeline, options: LoadOptions, defaults: dict[str, object]
    ) -> None:
        self.name = folder.name
        self.folder = folder
        self.pipeline = pipeline
        self.device = options.device
        self.dtype = options.dtype
        self.denoiser: torch.nn.Module = pipeline.transformer
        layers = linear_layers(self.denoiser, "transformer_blocks.")
        self.lora_targets = tuple(name for name in layers if name.endswith(LORA_LAYERS))
        self.model_hash = weights_hash(folder, ("transformer", "text_encoder", "tokenizer", "scheduler"))
        self.vae_hash = weights_hash(folder, ("vae",))
        self.vae = pipeline.vae
        self.temporal_factor = int(self.vae.temporal_compression_ratio)
        self.spatial_factor = int(self.vae.spatial_compression_ratio)
        values = OFFICIAL_DEFAULTS | defaults
        self.max_sequence_length = int(str(values.pop("max_sequence_length")))
        self.defaults = sampling_defaults(values, folder)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """T5 embeddings `text` `[B, L, D]` and `mask` `[B, L]`, exactly as `MochiPipeline` makes them.

        Warns of captions that are longer than the model reads.
        """
        return encode_with_mask(self.pipeline, prompts, self.max_sequence_length)

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean."""
        with memory_is_clear(f"encoding {len(video)} clips at once"):
            mode = self.vae.encode(clips_to_tensor(video, self.device)).latent_dist.mode()
        mean, std = self._latent_statistics()
        return torch.as_tensor((mode - mean) * self.vae.config.scaling_factor / std)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        mean, std = self._latent_statistics()
        latents = latents_BCFHW.to(self.device, torch.float32) * std / self.vae.config.scaling_factor + mean
        with memory_is_clear(f"decoding {len(latents)} clips at once"):
            return tensor_to_clips(self.vae.decode(latents, return_dict=False)[0])

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity eps - x, in float32, where the latents are; the network is told 1000 (1 - sigma)."""
        towards_clip_BCFHW = self.denoiser(
            hidden_states=noisy_BCFHW.to(self.device, self.dtype),
            encoder_hidden_states=conditioning.tensors["text"].to(self.device, self.dtype),
            timestep=((1 - sigma_B) * 1000).to(self.device),
            encoder_attention_mask=conditioning.tensors["mask"].to(self.device),
            return_dict=False,
        )[0]
        return -torch.as_tensor(towards_clip_BCFHW).to(noisy_BCFHW.device, torch.float32)

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The pipeline's linear-quadratic schedule, `[steps + 1]`, turned to descend from 1 to 0.

        Raises:
            UserError: one step, which leaves no room for the linear part.
        """
        if steps < 2:
            raise UserError(f"{steps} steps are too few for Mochi: use 2 or more")
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config, invert_sigmas=False)
        scheduler.set_timesteps(sigmas=linear_quadratic_schedule(steps, THRESHOLD_NOISE))
        return torch.as_tensor(scheduler.sigmas)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Uniform, as the official fine-tuner draws them (genmoai/mochi, demos/fine_tuner)."""
        return uniform_B

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 6k and the size rule (autoencoder factor times patch)."""
        factors = {"temporal_factor": self.temporal_factor, "spatial_factor": self.spatial_factor}
        patch = int(self.pipeline.transformer.config.patch_size)
        return int(self.vae.config.latent_channels), *latent_grid(frames, height, width, **factors, patch=patch)

    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        return latent_statistics(self.vae.config.latents_mean, self.vae.config.latents_std, self.device)


def load(folder: Path, options: LoadOptions) -> MochiModel:
    """Load a `MochiPipeline` folder (safetensors only)."""
    return MochiModel(folder, load_pipeline(MochiPipeline, folder, options), options, side_defaults(folder))
