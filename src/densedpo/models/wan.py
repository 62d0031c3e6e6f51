"""Wan text-to-video models (`WanPipeline`): rectified flow, UMT5 text, a causal autoencoder.

Wan 2.1 T2V and Wan 2.2 T2V A14B (autoencoder factors 4 and 8), Wan 2.2 TI2V 5B (4 and 16). A14B has two denoisers of
the same build: one for noise levels from `boundary_ratio` up, one for those below. A guided pair starts at eta, at most
0.8 by default, below A14B's 0.875: it never meets the high-noise expert, so the low-noise one is trained by default.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.flow_multistep import SCHEDULERS, FlowMultistep
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.schedule import shifted, unshifted
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor, latent_grid, latent_statistics, tensor_to_clips
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, sampling_defaults, side_defaults
from densedpo.models.t5 import warn_if_truncated
from densedpo.models.wan_vae import decode_clips, encode_clips

PIPELINES = ("WanPipeline",)
SIZES = ("Wan 2.1 T2V 1.3B", "Wan 2.1 T2V 14B", "Wan 2.2 T2V A14B (two experts)", "Wan 2.2 TI2V 5B (text to video)")
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16; TI2V 5B: of 32"
PROVEN = (
    "sampling with Euler and UniPC, encoding and adapters equal diffusers' on tiny random weights of all three builds, "
    "DPM++ and guided members (video to video) on those of 2.1; the embedded tiny model goes from clips to report; "
    "published weights were not run here"
)

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
# From wan/configs/wan_t2v_A14B.py and wan_ti2v_5B.py of the official repository of Wan 2.2.
OFFICIAL_A14B = OFFICIAL_DEFAULTS | {"steps": 40, "guidance": 4.0, "guidance_2": 3.0, "width": 1280, "height": 720}
OFFICIAL_TI2V_5B = OFFICIAL_DEFAULTS | {"width": 1280, "height": 704, "frames": 121, "fps": 24.0}

OFFICIAL_SAMPLERS = {kind.__name__: name for name, kind in SCHEDULERS.items()}  # others: Euler


class WanModel:
    """A Wan checkpoint as a `VideoModel`.

    `denoiser` is the network that is trained: of two experts the one that the options name. `predict` uses for each row
    the expert of its noise level. The denoiser carries that expert's name, so that its adapter cannot go on the other.
    """

    process = RectifiedFlow()
    padding_frames = 0
    hashed: tuple[str, ...] = ("transformer", "transformer_2", "text_encoder", "tokenizer", "scheduler")

    def __init__(self, folder: Path, pipeline: DiffusionPipeline, options: LoadOptions) -> None:
        self.name = folder.name
        self.folder = folder
        self.pipeline = pipeline
        self.device = options.device
        self.dtype = options.dtype  # of most weights: some of Wan's stay in float32
        self.boundary: float | None = pipeline.config.get("boundary_ratio")
        low = pipeline.transformer if self.boundary is None else pipeline.transformer_2
        self.experts: dict[str, torch.nn.Module] = {"high": pipeline.transformer, "low": low}
        self.denoiser: torch.nn.Module = self.experts[options.expert]
        self.served_sigmas = (0.0, float("inf"))
        if self.boundary is not None:
            self.denoiser.expert = options.expert  # type: ignore[assignment]
            self.served_sigmas = (0.0, self.boundary) if options.expert == "low" else (self.boundary, float("inf"))
        # Attention and feed-forward of all blocks, as musubi-tuner and diffusion-pipe (all linear layers of
        # WanAttentionBlock) and DiffSynth-Studio's examples (q, k, v, o, ffn.0, ffn.2) have it.
        self.lora_targets = linear_layers(self.denoiser, "blocks.")
        self.model_hash = weights_hash(folder, self.hashed)
        self.vae_hash = weights_hash(folder, ("vae",))
        self.vae = pipeline.vae
        self.temporal_factor, self.spatial_factor = self.factors(self.vae)
        values = {"boundary": self.boundary} | self.official_defaults(pipeline) | side_defaults(folder)
        self.max_sequence_length = int(str(values.pop("max_sequence_length")))
        self.defaults = sampling_defaults(values, folder)
        config = pipeline.scheduler.config
        self._shift = _flow_shift(config)
        self._scheduler = FlowMatchEulerDiscreteScheduler(shift=self._shift)
        self.samplers = {name: FlowMultistep(name, config, self._shift) for name in SCHEDULERS}
        self.official_sampler = OFFICIAL_SAMPLERS.get(type(pipeline.scheduler).__name__, "euler")

    @staticmethod
    def factors(vae: Any) -> tuple[int, int]:
        """How many frames, and pixels from side to side, one latent stands for."""
        return int(vae.config.scale_factor_temporal), int(vae.config.scale_factor_spatial)

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values for this build."""
        if pipeline.config.boundary_ratio is not None:
            return dict(OFFICIAL_A14B)
        return dict(OFFICIAL_TI2V_5B if pipeline.config.expand_timesteps else OFFICIAL_DEFAULTS)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """UMT5 embeddings exactly as `WanPipeline` makes them, zero beyond each prompt's end; warns of cut captions."""
        cleaned = [prompt_clean(prompt) for prompt in prompts]
        warn_if_truncated(self.pipeline.tokenizer, cleaned, self.max_sequence_length)
        embeddings_BLD, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length
        )
        return Conditioning({"text": embeddings_BLD})

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean."""
        mean, std = self._latent_statistics()
        with memory_is_clear(f"encoding {len(video)} clips at once"):
            return (encode_clips(self.vae, clips_to_tensor(video, self.device)) - mean) / std

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        mean, std = self._latent_statistics()
        with memory_is_clear(f"decoding {len(latents_BCFHW)} clips at once"):
            return tensor_to_clips(decode_clips(self.vae, latents_BCFHW.to(self.device, torch.float32) * std + mean))

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are; the network is told 1000 sigma (sigma after any shift)."""
        if self.boundary is None:
            return self._run(self.denoiser, noisy_BCFHW, sigma_B, conditioning)
        is_low_B = (sigma_B < self.boundary).cpu()
        parts, order = [], []
        for name, of_expert_B in (("high", ~is_low_B), ("low", is_low_B)):
            rows = of_expert_B.nonzero().flatten()
            if len(rows):
                noisy, sigma = noisy_BCFHW[rows.to(noisy_BCFHW.device)], sigma_B[rows.to(sigma_B.device)]
                parts.append(self._run(self.experts[name], noisy, sigma, conditioning.take(rows)))
                order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort().to(noisy_BCFHW.device)]

    def _run(self, expert: torch.nn.Module, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        out = expert(**self._inputs(noisy_BCFHW, sigma_B, conditioning), return_dict=False)[0]
        return torch.as_tensor(out).to(noisy_BCFHW.device, torch.float32)

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        """What the network is given, by its own names.

        TI2V 5B takes a timestep for every token, for the sake of a given first frame; without one all tokens have the
        same, and one timestep for each clip gives the same numbers for less memory.
        """
        return {
            "hidden_states": noisy_BCFHW.to(self.device, self.dtype),
            "timestep": (sigma_B * 1000).to(self.device, torch.float32),
            "encoder_hidden_states": conditioning.tensors["text"].to(self.device, self.dtype),
        }

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The flow-matching Euler schedule with the checkpoint's own shift."""
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(steps)
        return torch.as_tensor(scheduler.sigmas)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Uniform, then shifted as in sampling, and for an expert only the levels that it serves.

        So does DiffSynth-Studio: uniform over the steps of a shifted schedule; the `--min_timestep_boundary 0.417` of
        its A14B examples is the share of steps above 0.875 at shift 5. Wan has no official trainer.
        """
        low, high = (min(level, 1.0) for level in self.served_sigmas)
        first, last = (unshifted(level, self._shift) for level in (low, high))
        return shifted(first + (last - first) * uniform_B, self._shift)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 4k and the size rule (autoencoder factor times patch)."""
        grid = latent_grid(
            frames,
            height,
            width,
            temporal_factor=self.temporal_factor,
            spatial_factor=self.spatial_factor,
            patch=self.pipeline.transformer.config.patch_size[1],
        )
        return int(self.vae.config.z_dim), *grid

    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        return latent_statistics(self.vae.config.latents_mean, self.vae.config.latents_std, self.device)


def _flow_shift(config: dict[str, object]) -> float:
    """Schedulers name the shift differently: `shift` in flow-matching Euler, `flow_shift` in UniPC and DPM++."""
    return float(str(config.get("shift", config.get("flow_shift", 1.0))))


def load(folder: Path, options: LoadOptions) -> WanModel:
    """Load a `WanPipeline` folder (safetensors only).

    Raises:
        UserError: as `load_pipeline`; one of two experts is missing.
    """
    pipeline = load_pipeline(WanPipeline, folder, options)
    check_experts(pipeline, folder)
    return WanModel(folder, pipeline, options)


def check_experts(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Refuse a model of two experts that lost one.

    Raises:
        UserError: saying so.
    """
    if pipeline.config.boundary_ratio is not None and pipeline.transformer_2 is None:
        raise UserError(f"{folder} is a model of two experts but has no transformer_2: download or copy it again")
