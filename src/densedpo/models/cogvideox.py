"""CogVideoX text-to-video models (`CogVideoXPipeline`): 2B, 5B and 1.5-5B; variance-preserving, T5 text.

Version 1.5 looks at latent frames two by two, so an odd number of them gets a padding frame in front. Latents here
include it, as the pipeline's do: it is noised, denoised and dropped by `decode`, and it shows nothing of the clip.

Shapes: B batch, C channels, F latent frames (padding included), H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXPipeline, DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.stochastic_dpm import StochasticDPM
from densedpo.diffusion.variance_preserving import VariancePreserving
from densedpo.errors import UserError
from densedpo.models.clips import check_most, clips_to_tensor, latent_grid, tensor_to_clips
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, sampling_defaults, side_defaults
from densedpo.models.t5 import warn_if_truncated

PIPELINES = ("CogVideoXPipeline",)
SIZES = ("CogVideoX 2B", "CogVideoX 5B", "CogVideoX1.5 5B (text to video)")
FRAME_RULE = "1 + 8k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling with DDIM and the stochastic DPM, guided generation, encoding and adapters equal diffusers' on tiny "
    "random weights of all three builds (DPM: of 5B and 1.5); published weights were not run here"
)

# From the model cards of CogVideoX-2b, -5b and 1.5-5B.
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 6.0,
    "negative_prompt": "",
    "width": 720,
    "height": 480,
    "frames": 49,
    "fps": 8.0,
}
OFFICIAL_DEFAULTS_1_5 = OFFICIAL_DEFAULTS | {"width": 1360, "height": 768, "frames": 81, "fps": 16.0}

# `target_modules` of the official trainer (THUDM/CogVideo, finetune/schemas/args.py) and of diffusers' example.
LORA_TARGETS = (".to_q", ".to_k", ".to_v", ".to_out.0")


class CogVideoXModel:
    """A CogVideoX checkpoint as a `VideoModel`.

    `padding_frames` of the latent frames, the first ones, are padding.
    """

    def __init__(self, folder: Path, pipeline: DiffusionPipeline, options: LoadOptions) -> None:
        self.name = folder.name
        self.folder = folder
        self.pipeline = pipeline
        self.device = options.device
        self.dtype = options.dtype
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.lora_targets = tuple(
            name for name in linear_layers(self.denoiser, "transformer_blocks.") if name.endswith(LORA_TARGETS)
        )
        self.model_hash = weights_hash(folder, ("transformer", "text_encoder", "tokenizer", "scheduler"))
        self.vae_hash = weights_hash(folder, ("vae",))
        self.vae = pipeline.vae
        self.temporal_factor = int(pipeline.vae_scale_factor_temporal)
        self.spatial_factor = int(pipeline.vae_scale_factor_spatial)
        self.config = pipeline.transformer.config
        self.padding_frames = (self.config.patch_size_t or 1) - 1
        official = OFFICIAL_DEFAULTS if self.config.patch_size_t is None else OFFICIAL_DEFAULTS_1_5
        self.defaults = sampling_defaults(official | side_defaults(folder), folder)
        self.process = VariancePreserving(pipeline.scheduler.alphas_cumprod)
        self._scheduler = CogVideoXDDIMScheduler.from_config(pipeline.scheduler.config)
        self.samplers = {"sde-dpm++": StochasticDPM(self.process, self.sigmas)}
        self.official_sampler = "sde-dpm++" if isinstance(pipeline.scheduler, CogVideoXDPMScheduler) else "euler"

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """T5 embeddings exactly as `CogVideoXPipeline` makes them, padding tokens included; warns of cut captions."""
        limit = int(self.config.max_text_seq_length)
        warn_if_truncated(self.pipeline.tokenizer, prompts, limit)
        embeddings_BLD, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=limit
        )
        return Conditioning({"text": embeddings_BLD})

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean, scaled.

        Padding frames are copies of the first latent frame, as in the official trainer (THUDM/CogVideo, finetune).
        """
        with memory_is_clear(f"encoding {len(video)} clips at once"):
            posterior = self.vae.encode(clips_to_tensor(video, self.device)).latent_dist
        latents_BCFHW = posterior.mode() * self.vae.config.scaling_factor
        return torch.cat([latents_BCFHW[:, :, :1]] * self.padding_frames + [latents_BCFHW], dim=2)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255, without the padding."""
        shown_BCFHW = latents_BCFHW[:, :, self.padding_frames :].to(self.device, torch.float32)
        with memory_is_clear(f"decoding {len(shown_BCFHW)} clips at once"):
            return tensor_to_clips(self.vae.decode(shown_BCFHW / self.vae.config.scaling_factor).sample)

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """v in float32, where the latents are; the network is told the timestep of the level nearest to sigma."""
        out = self.denoiser(**self._inputs(noisy_BCFHW, sigma_B, conditioning), return_dict=False)[0]
        return torch.as_tensor(out).transpose(1, 2).to(noisy_BCFHW.device, torch.float32)

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Any]:
        """What the network is given, by its own names; latents with frames before channels."""
        frames_first = noisy_BCFHW.to(self.device, self.dtype).transpose(1, 2)
        return {
            "hidden_states": frames_first,
            "timestep": self.process.timestep(sigma_B).to(self.device),
            "encoder_hidden_states": conditioning.tensors["text"].to(self.device, self.dtype),
            "image_rotary_emb": self._rotary_tables(frames_first),
        }

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The levels that DDIM visits with the checkpoint's own spacing, then 0.

        Where `steps` divides 1000, this is `CogVideoXDDIMScheduler` exactly. Elsewhere that scheduler steps to a level
        beside the one it tells the network next and may not end at 0; here both are the same and the end is 0.

        Raises:
            UserError: more steps than the model has timesteps.
        """
        if steps > len(self.process.levels_N):
            raise UserError(f"{steps} steps are too many for this model: use at most {len(self.process.levels_N)}")
        self._scheduler.set_timesteps(steps)
        return torch.cat([self.process.levels_N[self._scheduler.timesteps], torch.zeros(1)])

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """A timestep uniform over all 1000, as the official trainers draw it (THUDM/CogVideo: finetune and sat)."""
        count = len(self.process.levels_N)
        timestep_B = (uniform_B * count).long().clamp(0, count - 1)
        return self.process.levels_N.to(uniform_B.device)[timestep_B]

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 8k and the size rule (autoencoder factor times patch).

        8, not 4: given an even number of latent frames, the autoencoder does not treat the first one apart.
        """
        patch = self.config.patch_size
        _, latent_height, latent_width = latent_grid(
            frames,
            height,
            width,
            temporal_factor=self.temporal_factor * math.lcm(2, self.padding_frames + 1),
            spatial_factor=self.spatial_factor,
            patch=patch,
        )
        if self.config.patch_size_t is not None:  # version 1.5 has a table of so many positions and no more
            check_most(
                height=(height, self.config.sample_height // patch * patch * self.spatial_factor),
                width=(width, self.config.sample_width // patch * patch * self.spatial_factor),
            )
        latent_frames = self.padding_frames + 1 + (frames - 1) // self.temporal_factor
        return int(self.vae.config.latent_channels), latent_frames, latent_height, latent_width

    def _rotary_tables(self, latents_BFCHW: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines for every token; None in 2B, which adds sinusoidal positions by itself."""
        if not self.config.use_rotary_positional_embeddings:
            return None
        _, frames, _, height, width = latents_BFCHW.shape
        cosines, sines = self.pipeline._prepare_rotary_positional_embeddings(
            height * self.spatial_factor, width * self.spatial_factor, frames, self.device
        )
        return cosines, sines


def load(folder: Path, options: LoadOptions) -> CogVideoXModel:
    """Load a `CogVideoXPipeline` folder (safetensors only).

    Raises:
        UserError: the checkpoint predicts something other than v.
    """
    pipeline = load_pipeline(CogVideoXPipeline, folder, options)
    check_prediction(pipeline, folder)
    return CogVideoXModel(folder, pipeline, options)


def check_prediction(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Refuse a checkpoint that predicts something other than v.

    Raises:
        UserError: saying what it predicts.
    """
    kind = pipeline.scheduler.config.prediction_type
    if kind != "v_prediction":
        raise UserError(f"{folder} predicts {kind!r}, not v: densedpo trains CogVideoX models with v_prediction only")
