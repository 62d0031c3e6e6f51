"""SANA-Video text-to-video models (`SanaVideoPipeline`): rectified flow, linear attention, Gemma 2 text.

The 480p checkpoints have Wan 2.1's autoencoder, the 720p ones LTX-2's. A prompt is encoded behind a long instruction, a
negative prompt without it: one text has two encodings.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, SanaVideoPipeline
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import Conditioning
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor, latent_grid, latent_statistics, tensor_to_clips
from densedpo.models.hunyuan_video import shifted_logit_normal, warn_of_truncation
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, read_json
from densedpo.models.wan import WanModel
from densedpo.store.schema import content_id

PIPELINES = ("SanaVideoPipeline",)
SIZES = ("SANA-Video 2B 480p (autoencoder of Wan 2.1)", "SANA-Video 2B 720p (autoencoder of LTX-2)")
FRAME_RULE = "1 + 4k; 720p: 1 + 8k"
SIZE_RULE = "multiples of 32"
PROVEN = (
    "sampling with DPM++ and Euler, both encodings of a text, decoding and adapters equal diffusers' on tiny random "
    "weights with either autoencoder; published weights were not run here"
)

# From inference_video_scripts/inference_sana_video.py of NVlabs/Sana and the example of diffusers' pipeline, which also
# has the 300 tokens and, among its sizes for 720p, 1280 x 704.
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 6.0,
    "negative_prompt": (
        "A chaotic sequence with misshapen, deformed limbs in heavy motion blur, sudden disappearance, jump cuts, "
        "jerky movements, rapid shot changes, frames out of sync, inconsistent character shapes, temporal artifacts, "
        "jitter, and ghosting effects, creating a disorienting visual experience."
    ),
    "width": 832,
    "height": 480,
    "frames": 81,
    "fps": 16.0,
    "max_sequence_length": 300,
}
OFFICIAL_720P = OFFICIAL_DEFAULTS | {"width": 1280, "height": 704}

TRAINING_SHIFT = 3.0  # `flow_shift` of configs/sana_video_config in NVlabs/Sana; sampling shifts by more
SIZE_UNIT = 32  # pixels; the network could take 16 at 480p, but the pipeline refuses that
LORA_LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")  # SimpleTuner's default, helpers/models/sanavideo/model.py
# The lines of text that the pipeline puts before a prompt.
INSTRUCTION: list[str] = inspect.signature(SanaVideoPipeline.__call__).parameters["complex_human_instruction"].default


class SanaVideoModel(WanModel):
    """A SANA-Video checkpoint with Wan 2.1's autoencoder as a `VideoModel`; samplers and schedule are as for Wan."""

    def __init__(self, folder: Path, pipeline: DiffusionPipeline, options: LoadOptions) -> None:
        super().__init__(folder, pipeline, options)
        layers = linear_layers(self.denoiser, "transformer_blocks.")
        self.lora_targets = tuple(name for name in layers if name.endswith(LORA_LAYERS))
        self.model_hash = content_id(self.model_hash, INSTRUCTION)  # it is in diffusers' code, in no file of the model

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values for this build."""
        return dict(OFFICIAL_DEFAULTS)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Gemma's states `text` `[B, L, D]` behind the instruction, and `mask` `[B, L]`; warns of cut captions.

        They begin with the first token and the instruction's last one, exactly as `SanaVideoPipeline` takes them.
        """
        return self._encode_text(prompts, INSTRUCTION)

    @torch.no_grad()
    def encode_negative_text(self, prompts: Sequence[str]) -> Conditioning:
        """The same of negative prompts, which have no instruction before them."""
        return self._encode_text(prompts, [])

    def _encode_text(self, prompts: Sequence[str], instruction: list[str]) -> Conditioning:
        pipeline, before = self.pipeline, "\n".join(instruction)
        unseen = len(pipeline.tokenizer.encode(before)) - 2 if instruction else 0  # of the instruction's tokens
        texts = [before + text for text in pipeline._text_preprocessing(list(prompts))]
        lengths = [len(ids) - unseen for ids in pipeline.tokenizer(texts, verbose=False).input_ids]
        warn_of_truncation(prompts, lengths, self.max_sequence_length)
        text_BLD, mask_BL, _, _ = pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=instruction,
        )
        return Conditioning({"text": text_BLD, "mask": mask_BL})

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        mask_BL = conditioning.tensors["mask"].to(self.device)
        return super()._inputs(noisy_BCFHW, sigma_B, conditioning) | {"encoder_attention_mask": mask_BL}

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Logit-normal (0, 1), then shifted by 3, as train_video_ivjoint.py of NVlabs/Sana draws them.

        It rounds them down to a thousandth before the shift, which is left out here.
        """
        return shifted_logit_normal(uniform_B, TRAINING_SHIFT)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the autoencoder's frame rule and the pipeline's size rule, multiples of 32."""
        factors = {"temporal_factor": self.temporal_factor, "spatial_factor": self.spatial_factor}
        grid = latent_grid(frames, height, width, **factors, patch=SIZE_UNIT // self.spatial_factor)
        return int(self.pipeline.transformer.config.in_channels), *grid


class SanaVideoLTX2Model(SanaVideoModel):
    """A SANA-Video checkpoint with LTX-2's autoencoder, normalised channel by channel as the pipeline does it."""

    @staticmethod
    def factors(vae: Any) -> tuple[int, int]:
        """How many frames, and pixels from side to side, one latent stands for."""
        return int(vae.temporal_compression_ratio), int(vae.spatial_compression_ratio)

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values for this build."""
        return dict(OFFICIAL_720P)

    @torch.no_grad()
    def encode(self, video: NDArray[np.uint8]) -> Tensor:
        """Clips `[B, T, H, W, 3]` to normalised latents `[B, C, F, H', W']`: the posterior's mean."""
        with memory_is_clear(f"encoding {len(video)} clips at once"):
            mode = self.vae.encode(clips_to_tensor(video, self.device)).latent_dist.mode()
        mean, std = self._latent_statistics()
        return torch.as_tensor((mode - mean) / std)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> NDArray[np.uint8]:
        """Normalised latents to clips `[B, T, H, W, 3]` in 0..255."""
        mean, std = self._latent_statistics()
        with memory_is_clear(f"decoding {len(latents_BCFHW)} clips at once"):
            return tensor_to_clips(self.vae.decode(latents_BCFHW.to(self.device, torch.float32) * std + mean).sample)

    def _latent_statistics(self) -> tuple[Tensor, Tensor]:
        return latent_statistics(self.vae.latents_mean, self.vae.latents_std, self.device)


KINDS: dict[str, type[SanaVideoModel]] = {
    "AutoencoderKLWan": SanaVideoModel,
    "AutoencoderKLLTX2Video": SanaVideoLTX2Model,
}


def model_of(folder: Path, pipeline: DiffusionPipeline, options: LoadOptions) -> SanaVideoModel:
    """The model of the kind that the pipeline's autoencoder asks for."""
    return KINDS[type(pipeline.vae).__name__](folder, pipeline, options)


def load(folder: Path, options: LoadOptions) -> SanaVideoModel:
    """Load a `SanaVideoPipeline` folder (safetensors only).

    Raises:
        UserError: another autoencoder than Wan's or LTX-2's.
    """
    name = read_json(folder / "model_index.json")["vae"][1]
    if name not in KINDS:
        raise UserError(
            f"{folder} has the autoencoder {name}, which densedpo does not know for SANA-Video: use a checkpoint with "
            f"{' or '.join(KINDS)}"
        )
    return model_of(folder, load_pipeline(SanaVideoPipeline, folder, options), options)
