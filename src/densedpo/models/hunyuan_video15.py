"""HunyuanVideo 1.5 text-to-video models (`HunyuanVideo15Pipeline`): rectified flow, Qwen2.5-VL text, ByT5 for glyphs.

Guidance is the ordinary classifier-free kind; its scale is the one of the checkpoint's own guider: 6, or 1 for
checkpoints distilled from guidance.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import extract_glyph_texts, format_text_input
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning
from densedpo.errors import UserError
from densedpo.models.hunyuan_video import TEXT_PARTS, HunyuanModel, shifted_logit_normal, warn_of_truncation
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, side_defaults

PIPELINES = ("HunyuanVideo15Pipeline",)
SIZES = ("HunyuanVideo 1.5 8.3B, 480p and 720p, guidance-distilled or not (not the few-step ones)",)
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling at the guider's scale and without guidance, encoding and adapters equal diffusers' on tiny random "
    "weights; published weights were not run here"
)

# From the official repository's generate.py; guidance and size come from the checkpoint.
OFFICIAL_DEFAULTS = {"steps": 50, "negative_prompt": "", "frames": 121, "fps": 24.0, "max_sequence_length": 1000}
TRAINING_SHIFT = 3.0  # `train_timestep_shift` of the official train.py; sampling shifts by more
PLAIN_GUIDER = {"guidance_rescale": 0.0, "use_original_formulation": False, "start": 0.0, "stop": 1.0}


class HunyuanVideo15Model(HunyuanModel):
    """A HunyuanVideo 1.5 checkpoint as a `VideoModel`."""

    def __init__(self, folder: Path, pipeline: HunyuanVideo15Pipeline, options: LoadOptions) -> None:
        guider = pipeline.guider.config
        height, width = pipeline.video_processor.calculate_default_height_width(
            *reversed(pipeline.default_aspect_ratio), pipeline.target_size
        )
        own = {"guidance": guider.guidance_scale if guider.enabled else 1.0, "width": width, "height": height}
        values: dict[str, Any] = OFFICIAL_DEFAULTS | own | side_defaults(folder)
        pipeline.tokenizer_max_length = int(values.pop("max_sequence_length"))
        super().__init__(folder, pipeline, options, values)
        self.vae.enable_slicing()  # clip by clip: its attention's mask is wrong for more (diffusers 0.42)
        # All layers of all blocks, as diffusion-pipe adapts them; the official train.py adds the embedders.
        self.lora_targets = linear_layers(self.denoiser, "transformer_blocks.")
        self.model_hash = weights_hash(folder, ("transformer", "scheduler", *TEXT_PARTS))

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Qwen's states after the template and ByT5's of the quoted words, zero if none are, each with its mask.

        Warns when a limit cuts a prompt or its quoted words.
        """
        self._warn_of_truncation(prompts)
        text_BLD, mask_BL, glyphs_BLD, glyph_mask_BL = self.pipeline.encode_prompt(
            list(prompts), batch_size=len(prompts), dtype=self.dtype
        )
        return Conditioning({"text": text_BLD, "mask": mask_BL, "glyphs": glyphs_BLD, "glyph_mask": glyph_mask_BL})

    def _warn_of_truncation(self, prompts: Sequence[str]) -> None:
        pipeline = self.pipeline
        chats = pipeline.tokenizer.apply_chat_template(
            format_text_input(list(prompts), pipeline.system_message),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            tokenizer_kwargs={"verbose": False},
        )
        lengths = [len(ids) - pipeline.prompt_template_encode_start_idx for ids in chats.input_ids]
        warn_of_truncation(prompts, lengths, pipeline.tokenizer_max_length)
        quoted = [text for text in map(extract_glyph_texts, prompts) if text]
        lengths = [len(pipeline.tokenizer_2(text).input_ids) for text in quoted]
        warn_of_truncation(quoted, lengths, pipeline.tokenizer_2_max_length)

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are.

        The channels for a first frame and its mask, and the states of an image, are zero: text-to-video. The time is
        rounded to the network's precision, as the pipeline does it.
        """
        given = {name: values.to(self.device, self.dtype) for name, values in conditioning.tensors.items()}
        noisy = noisy_BCFHW.to(self.device, self.dtype)
        no_frame, no_mask = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
        image_tokens, image_width = self.pipeline.vision_num_semantic_tokens, self.pipeline.vision_states_dim
        out = self.denoiser(
            hidden_states=torch.cat([noisy, no_frame, no_mask], dim=1),
            image_embeds=noisy.new_zeros(len(noisy), image_tokens, image_width),
            timestep=(sigma_B * 1000).to(self.device, self.dtype),
            encoder_hidden_states=given["text"],
            encoder_attention_mask=given["mask"],
            encoder_hidden_states_2=given["glyphs"],
            encoder_attention_mask_2=given["glyph_mask"],
            return_dict=False,
        )[0]
        return torch.as_tensor(out).to(noisy_BCFHW.device, torch.float32)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Logit-normal (0, 1), then shifted by 3, as the official train.py draws it (but for margins of 1e-5)."""
        return shifted_logit_normal(uniform_B, TRAINING_SHIFT)


def load(folder: Path, options: LoadOptions) -> HunyuanVideo15Model:
    """Load a `HunyuanVideo15Pipeline` folder (safetensors only).

    Raises:
        UserError: a few-step (MeanFlow) checkpoint, or one with another kind of guidance.
    """
    if json.loads((folder / "transformer" / "config.json").read_text()).get("use_meanflow"):
        raise UserError(
            f"{folder} is a few-step (MeanFlow) model: it predicts mean velocities over whole steps, which training "
            "here would break; use the model it was distilled from"
        )
    pipeline = load_pipeline(HunyuanVideo15Pipeline, folder, options)
    guider = pipeline.guider
    if type(guider) is not ClassifierFreeGuidance or any(guider.config[k] != v for k, v in PLAIN_GUIDER.items()):
        raise UserError(
            f"the guider of {folder} is not plain classifier-free guidance, the only kind densedpo samples with: "
            "set its config to ClassifierFreeGuidance with guidance_scale alone"
        )
    return HunyuanVideo15Model(folder, pipeline, options)
