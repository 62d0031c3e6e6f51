"""HunyuanVideo text-to-video models (`HunyuanVideoPipeline`): rectified flow, Llama and CLIP text, embedded guidance.

The published checkpoint is distilled from classifier-free guidance: the scale is one of its inputs, and one forward
predicts the guided velocity. So `guidance` (true classifier-free guidance, two forwards) is 1 by default, and the
embedded scale travels in `Conditioning`.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.schedule import shifted
from densedpo.models.clips import clips_to_tensor, latent_grid, tensor_to_clips
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, sampling_defaults, side_defaults
from densedpo.store.schema import content_id

PIPELINES = ("HunyuanVideoPipeline",)
SIZES = ("HunyuanVideo 13B (guidance-distilled)",)
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling with and without true guidance, encoding and adapters equal diffusers' on tiny random weights; "
    "published weights were not run here"
)

# From the official repository: hyvideo/config.py, hyvideo/constants.py (negative prompt), sample_video.py (24 fps).
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 1.0,
    "negative_prompt": (
        "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, "
        "bad eyes, bad limbs, distortion"
    ),
    "width": 1280,
    "height": 720,
    "frames": 129,
    "fps": 24.0,
    "max_sequence_length": 256,
    "embedded_guidance": 6.0,  # sampling and training alike: see HunyuanVideoModel
}
TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


class HunyuanModel:
    """What HunyuanVideo and HunyuanVideo 1.5 share: process, schedule, autoencoder and sizes."""

    process = RectifiedFlow()
    padding_frames = 0

    def __init__(self, folder: Path, pipeline: Any, options: LoadOptions, values: dict[str, Any]) -> None:
        self.name = folder.name
        self.folder = folder
        self.pipeline = pipeline
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.device = options.device
        self.dtype = options.dtype
        self.vae = pipeline.vae
        self.vae_hash = weights_hash(folder, ("vae",))
        self.temporal_factor = int(self.vae.config.temporal_compression_ratio)
        self.spatial_factor = int(self.vae.config.spatial_compression_ratio)
        self.defaults = sampling_defaults(values, folder)
        self._scaling = float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean, scaled."""
        with memory_is_clear(f"encoding {len(video)} clips at once"):
            posterior = self.vae.encode(clips_to_tensor(video, self.device)).latent_dist
        return torch.as_tensor(posterior.mode() * self._scaling)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        with memory_is_clear(f"decoding {len(latents_BCFHW)} clips at once"):
            decoded = self.vae.decode(latents_BCFHW.to(self.device, torch.float32) / self._scaling).sample
        return tensor_to_clips(decoded)

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """Equal steps from 1 to 0, as these pipelines ask for them, then the checkpoint's own shift."""
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
        return torch.as_tensor(scheduler.sigmas)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 4k and the size rule (autoencoder factor times patch)."""
        grid = latent_grid(
            frames,
            height,
            width,
            temporal_factor=self.temporal_factor,
            spatial_factor=self.spatial_factor,
            patch=int(self.pipeline.transformer.config.patch_size),
        )
        return int(self.vae.config.latent_channels), *grid


class HunyuanVideoModel(HunyuanModel):
    """A HunyuanVideo checkpoint as a `VideoModel`.

    Training feeds the same embedded guidance as sampling (6, the makers' value), to policy and reference alike. A
    preference is an opinion on videos drawn at that scale, so the policy to move and the reference to stay close to
    are the model at that scale; and users sample the adapter there. DanceGRPO trains HunyuanVideo so, too. Trainers
    that imitate real clips often feed 1 instead, because real clips follow no guided velocity; a preference loss only
    compares two networks under the same input, so it does not ask the model to unlearn its guidance.
    `embedded_guidance` in the folder's `densedpo.json` changes both; a checkpoint without the input ignores it.
    """

    def __init__(self, folder: Path, pipeline: HunyuanVideoPipeline, options: LoadOptions) -> None:
        values: dict[str, Any] = OFFICIAL_DEFAULTS | side_defaults(folder)
        self.max_sequence_length = int(values.pop("max_sequence_length"))
        self.embedded_guidance = float(values.pop("embedded_guidance"))
        super().__init__(folder, pipeline, options, values)
        # All layers of all blocks, as diffusion-pipe and, with few differences, Tencent's own LoRA trainer adapt them.
        self.lora_targets = linear_layers(self.denoiser, "transformer_blocks.", "single_transformer_blocks.")
        weights = weights_hash(folder, ("transformer", "scheduler", *TEXT_PARTS))
        self.model_hash = content_id(weights, self.embedded_guidance)  # at another scale it draws other videos

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Llama's states after the template, CLIP's pooled state, Llama's mask, and the embedded guidance.

        CLIP summarises the first 77 tokens only, by design. Warns when Llama's limit cuts a prompt.
        """
        template = DEFAULT_PROMPT_TEMPLATE
        texts = [template["template"].format(prompt) for prompt in prompts]
        lengths = [len(ids) - template["crop_start"] for ids in self.pipeline.tokenizer(texts, verbose=False).input_ids]
        warn_of_truncation(prompts, lengths, self.max_sequence_length)
        text_BLD, pooled_BD, mask_BL = self.pipeline.encode_prompt(
            list(prompts), max_sequence_length=self.max_sequence_length
        )
        guidance_B = torch.full((len(prompts),), self.embedded_guidance, device=text_BLD.device)
        return Conditioning({"text": text_BLD, "pooled": pooled_BD, "mask": mask_BL, "guidance": guidance_B})

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are; the network is told 1000 sigma and 1000 guidance."""
        given = {name: values.to(self.device, self.dtype) for name, values in conditioning.tensors.items()}
        out = self.denoiser(
            hidden_states=noisy_BCFHW.to(self.device, self.dtype),
            timestep=(sigma_B * 1000).to(self.device),
            encoder_hidden_states=given["text"],
            encoder_attention_mask=given["mask"],
            pooled_projections=given["pooled"],
            guidance=given["guidance"] * 1000,  # in the network's precision, as the pipeline: 6016 in bfloat16
            return_dict=False,
        )[0]
        return torch.as_tensor(out).to(noisy_BCFHW.device, torch.float32)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Logit-normal (0, 1), then shifted as in sampling (7).

        So the one trainer that Tencent published for this generation draws it, the LoRA trainer of HunyuanVideo-I2V
        (hyvideo/diffusion/flow/transport.py with `--flow-shift 7.0`). There is none for text-to-video.
        """
        return shifted_logit_normal(uniform_B, float(self.pipeline.scheduler.config.shift))


def shifted_logit_normal(uniform_B: Tensor, shift: float) -> Tensor:
    """sigmoid(z) for a standard normal z with distribution function `uniform_B`, then s t / (1 + (s - 1) t)."""
    return shifted(torch.sigmoid(torch.special.ndtri(uniform_B)), shift)


def warn_of_truncation(captions: Sequence[str], lengths: Sequence[int], limit: int) -> None:
    """A UserWarning for every caption that has more tokens, with what the template adds behind it, than are read."""
    for caption, tokens in zip(captions, lengths, strict=True):
        if tokens > limit:
            warnings.warn(
                f"the caption {caption[:40]!r}... has {tokens} tokens, of which this model reads the first {limit}",
                stacklevel=3,
            )


def load(folder: Path, options: LoadOptions) -> HunyuanVideoModel:
    """Load a `HunyuanVideoPipeline` folder (safetensors only)."""
    return HunyuanVideoModel(folder, load_pipeline(HunyuanVideoPipeline, folder, options), options)
