"""Wan text-to-video models (`WanPipeline`): rectified flow, UMT5 text, causal autoencoder with factors 4 and 8.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import diffusers.utils.logging
import numpy as np
import torch
import transformers.utils.logging
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.protocol import Conditioning, SamplingDefaults
from densedpo.errors import UserError
from densedpo.models.identity import weights_hash

PIPELINES = ("WanPipeline",)

# From the official repository's generate.py and the diffusers model card of Wan 2.1.
OFFICIAL_NEGATIVE_PROMPT = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly "
    "drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
    "background, three legs, many people in the background, walking backwards"
)
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 5.0,
    "negative_prompt": OFFICIAL_NEGATIVE_PROMPT,
    "width": 832,
    "height": 480,
    "frames": 81,
    "fps": 16.0,
    "max_sequence_length": 512,
}
SIDE_FILE = "densedpo.json"  # a model folder's own defaults, where they differ from the official ones


class WanModel:
    """A Wan checkpoint as a `VideoModel`."""

    process = RectifiedFlow()

    def __init__(self, folder: Path, pipeline: WanPipeline, defaults: dict[str, object]) -> None:
        self.folder = folder
        self.pipeline = pipeline
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.dtype: torch.dtype = pipeline.transformer.dtype  # of most weights: some of Wan's stay in float32
        self.denoiser.requires_grad_(False).eval()
        self.model_hash = weights_hash(folder, ("transformer", "text_encoder", "tokenizer", "scheduler"))
        self.vae_hash = weights_hash(folder, ("vae",))
        self.vae = pipeline.vae.requires_grad_(False).eval()
        self.temporal_factor = int(self.vae.config.scale_factor_temporal)
        self.spatial_factor = int(self.vae.config.scale_factor_spatial)
        values = OFFICIAL_DEFAULTS | defaults
        self.max_sequence_length = int(str(values.pop("max_sequence_length")))
        self.defaults = SamplingDefaults(**values)  # type: ignore[arg-type]
        self._scheduler = FlowMatchEulerDiscreteScheduler(shift=_flow_shift(pipeline.scheduler.config))

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """UMT5 embeddings exactly as `WanPipeline` makes them, zero beyond each prompt's end."""
        embeddings_BLD, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length
        )
        return Conditioning({"text": embeddings_BLD})

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean."""
        pixels = torch.from_numpy(np.ascontiguousarray(video)).to(self.device, torch.float32) / 127.5 - 1
        posterior = self.vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist
        mean, std = self._latent_statistics()
        return torch.as_tensor((posterior.mode() - mean) / std)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        mean, std = self._latent_statistics()
        decoded = self.vae.decode(latents_BCFHW.to(self.device, torch.float32) * std + mean).sample
        pixels = ((decoded.permute(0, 2, 3, 4, 1) + 1) * 127.5).round().clamp(0, 255)
        return np.asarray(pixels.to(torch.uint8).contiguous().cpu().numpy(), dtype=np.uint8)

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are; the network is told 1000 sigma (sigma after any shift)."""
        text_BLD = conditioning.tensors["text"].to(self.device, self.dtype)
        out = self.denoiser(
            hidden_states=noisy_BCFHW.to(self.device, self.dtype),
            timestep=(sigma_B * 1000).to(self.device),
            encoder_hidden_states=text_BLD,
            return_dict=False,
        )[0]
        return torch.as_tensor(out).to(noisy_BCFHW.device, torch.float32)

    def sigmas(self, steps: int) -> Tensor:
        """The flow-matching Euler schedule with the checkpoint's own shift."""
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(steps)
        return torch.as_tensor(scheduler.sigmas)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 4k and the size rule (autoencoder factor times patch)."""
        factor = self.temporal_factor
        if frames < 1 or (frames - 1) % factor:
            below = 1 + (max(frames, 1) - 1) // factor * factor
            raise UserError(f"{frames} frames do not fit this model (1 + {factor}k): use {below} or {below + factor}")
        _, patch_height, patch_width = self.pipeline.transformer.config.patch_size
        for name, value, patch in (("height", height, patch_height), ("width", width, patch_width)):
            unit = self.spatial_factor * patch
            if value < unit or value % unit:
                below = max(unit, value // unit * unit)
                raise UserError(
                    f"{name} {value} does not fit this model (a multiple of {unit}): use {below} or {below + unit}"
                )
        channels = int(self.vae.config.z_dim)
        return channels, 1 + (frames - 1) // factor, height // self.spatial_factor, width // self.spatial_factor

    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(self.vae.config.latents_mean, device=self.device).view(shape)
        std = torch.tensor(self.vae.config.latents_std, device=self.device).view(shape)
        return mean, std


def _flow_shift(config: dict[str, object]) -> float:
    """Schedulers name the shift differently: `shift` in flow-matching Euler, `flow_shift` in UniPC and DPM++."""
    return float(str(config.get("shift", config.get("flow_shift", 1.0))))


def load(folder: Path, *, device: torch.device, dtype: torch.dtype) -> WanModel:
    """Load a `WanPipeline` folder (safetensors only).

    Raises:
        UserError: a Wan 2.2 checkpoint with two experts or with a timestep for every token.
    """
    index = json.loads((folder / "model_index.json").read_text())
    if index.get("boundary_ratio") is not None or index.get("expand_timesteps"):
        raise UserError(f"{folder} is a Wan 2.2 model, which densedpo cannot train yet: use one of Wan 2.1")
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()  # bars of a second's work, between the lines of our own
    pipeline = WanPipeline.from_pretrained(
        folder, dtype={"default": dtype, "vae": torch.float32}, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    side = folder / SIDE_FILE
    return WanModel(folder, pipeline, json.loads(side.read_text()) if side.exists() else {})
