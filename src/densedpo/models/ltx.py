"""LTX-Video text-to-video models (`LTXPipeline`): rectified flow, T5 text, an autoencoder with factors 8 and 32.

The denoiser sees one token a latent pixel, is told the frame rate through its rotary positions, and its schedule is
shifted by the number of tokens (arXiv 2501.00103).

Shapes: B batch, C channels, F latent frames, H height, W width, S = F H W tokens, L text tokens, D text width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, LTXPipeline
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.seeds import noise, seed_of
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor, latent_grid, latent_statistics, tensor_to_clips
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, read_json, sampling_defaults, side_defaults
from densedpo.models.t5 import encode_with_mask

PIPELINES = ("LTXPipeline",)
SIZES = ("LTX-Video 2B 0.9.0", "LTX-Video 2B 0.9.1")
FRAME_RULE = "1 + 8k"
SIZE_RULE = "multiples of 32"
PROVEN = (
    "sampling with Euler, encoding, decoding (with and without a denoising decoder) and adapters equal diffusers' on "
    "tiny random weights; published weights were not run here"
)

# Size, frames, steps and negative prompt from the example of the diffusers model card, guidance and frame rate from
# `LTXPipeline`; the two of the decoder, for checkpoints since 0.9.1, from the configs of the official repository.
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 3.0,
    "negative_prompt": "worst quality, inconsistent motion, blurry, jittery, distorted",
    "width": 704,
    "height": 480,
    "frames": 161,
    "fps": 25.0,
    "max_sequence_length": 128,
    "decode_timestep": 0.05,
    "decode_noise_scale": 0.025,
}
LORA_LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")  # the default of Lightricks/LTX-Video-Trainer
DECODE_NOISE = ("ltx", "decode")  # the key of the noise that an autoencoder with a timestep is given


class LTXModel:
    """An LTX-Video checkpoint as a `VideoModel`."""

    process = RectifiedFlow()
    padding_frames = 0
    official_defaults: Mapping[str, object] = OFFICIAL_DEFAULTS

    def __init__(
        self, folder: Path, pipeline: DiffusionPipeline, options: LoadOptions, defaults: Mapping[str, object]
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
        values = {**self.official_defaults, **defaults}
        self.max_sequence_length = int(str(values.pop("max_sequence_length")))
        self.decode_timestep = float(str(values.pop("decode_timestep")))
        self.decode_noise_scale = float(str(values.pop("decode_noise_scale")))
        self.defaults = sampling_defaults(values, folder)
        self.told_fps = self.defaults.fps  # its rotary tables are in seconds

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """T5 embeddings `text` `[B, L, D]` and `mask` `[B, L]`, exactly as `LTXPipeline` makes them.

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
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255.

        Autoencoders with a timestep do the last denoising step: their latents get a little noise. It is the same for
        every clip, and so is the noise that the decoder draws itself: equal latents always give equal clips.
        """
        mean, std = self._latent_statistics()
        latents = latents_BCFHW.to(self.device, torch.float32) * std / self.vae.config.scaling_factor + mean
        timestep_B = None
        if self.vae.config.timestep_conditioning:
            grain_CFHW = noise(tuple(latents.shape[1:]), *DECODE_NOISE).to(self.device)
            latents = torch.lerp(latents, grain_CFHW, self.decode_noise_scale)
            timestep_B = torch.full((len(latents),), self.decode_timestep, device=self.device)
        with (
            memory_is_clear(f"decoding {len(latents)} clips at once"),
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
        ):
            torch.manual_seed(seed_of(*DECODE_NOISE))
            return tensor_to_clips(self.vae.decode(latents, timestep_B, return_dict=False)[0])

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are; the network is told 1000 sigma and `defaults.fps`."""
        tokens_BSC = self.denoiser(
            hidden_states=noisy_BCFHW.flatten(2).transpose(1, 2).to(self.device, self.dtype),
            encoder_hidden_states=conditioning.tensors["text"].to(self.device, self.dtype),
            timestep=(sigma_B * 1000).to(self.device),
            encoder_attention_mask=conditioning.tensors["mask"].to(self.device),
            **self._positions(len(noisy_BCFHW), *noisy_BCFHW.shape[2:]),
            return_dict=False,
        )[0]
        velocity_BCFHW = tokens_BSC.transpose(1, 2).unflatten(2, noisy_BCFHW.shape[2:])
        return torch.as_tensor(velocity_BCFHW).to(noisy_BCFHW.device, torch.float32)

    def _positions(self, batch: int, frames: int, height: int, width: int) -> dict[str, Any]:
        """What the network is told, by its own names, of where its tokens are: in seconds and pixels."""
        seconds = self.temporal_factor / self.told_fps  # a latent frame lasts
        scale = (seconds, self.spatial_factor, self.spatial_factor)
        return {"num_frames": frames, "height": height, "width": width, "rope_interpolation_scale": scale}

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The flow-matching Euler schedule, `[steps + 1]`, shifted by the latents' number of tokens.

        Raises:
            UserError: one step, for which a schedule that is stretched to its last sigma has no form.
        """
        if steps < 2:
            raise UserError(f"{steps} steps are too few for LTX-Video: use 2 or more")
        if shape is None:
            shape = self.latent_shape(self.defaults.frames, self.defaults.height, self.defaults.width)
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        mu = calculate_shift(_tokens(shape), *(scheduler.config[name] for name in names))
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
        return torch.as_tensor(scheduler.sigmas)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Logit-normal with deviation 1 and a mean that grows with the tokens: 0.95 at 1024, 2.05 at 4096.

        That is the shifted logit-normal sampler of the official trainer (Lightricks/LTX-Video-Trainer).
        """
        mean = calculate_shift(_tokens(shape), 1024, 4096, 0.95, 2.05)
        return torch.sigmoid(torch.special.ndtri(uniform_B) + mean)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 8k and the size rule, a multiple of 32."""
        factors = {"temporal_factor": self.temporal_factor, "spatial_factor": self.spatial_factor}
        return int(self.vae.config.latent_channels), *latent_grid(frames, height, width, **factors, patch=1)

    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        return latent_statistics(self.vae.latents_mean, self.vae.latents_std, self.device)


def _tokens(shape: Sequence[int]) -> int:
    return int(np.prod(shape[1:]))


def load(folder: Path, options: LoadOptions) -> LTXModel:
    """Load an `LTXPipeline` folder (safetensors only).

    Raises:
        UserError: a checkpoint whose scheduler draws noise at every step.
    """
    check_deterministic(folder)
    return LTXModel(folder, load_pipeline(LTXPipeline, folder, options), options, side_defaults(folder))


def check_deterministic(folder: Path) -> None:
    """Refuse a scheduler that draws noise at every step, as the makers sample 0.9.6 distilled.

    Raises:
        UserError: saying so.
    """
    config = folder / "scheduler" / "scheduler_config.json"
    if config.exists() and read_json(config).get("stochastic_sampling"):
        raise UserError(
            f"{folder} is sampled with fresh noise at every step (stochastic_sampling), which densedpo does not do for "
            f"LTX-Video: use the model it was distilled from, or set it to false in {config}"
        )
