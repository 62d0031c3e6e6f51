"""What a plan must know of each family: how it is built without weights, and what its network is given beside a clip.

Shapes: C channels, F latent frames, H height, W width; of one clip, without a batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from densedpo.models.cogvideox import CogVideoXModel
from densedpo.models.cogvideox_image import CogVideoXImageModel
from densedpo.models.hunyuan_video import HunyuanVideoModel
from densedpo.models.hunyuan_video15 import HunyuanVideo15Model
from densedpo.models.kandinsky5 import Kandinsky5Model, check_dense
from densedpo.models.ltx import LTXModel
from densedpo.models.ltx_condition import LTXConditionModel
from densedpo.models.mochi import MochiModel
from densedpo.models.pipelines import LoadOptions, side_defaults
from densedpo.models.sana_video import model_of as sana_video_model
from densedpo.models.skyreels_v2 import SkyReelsV2Model
from densedpo.models.wan import WanModel
from densedpo.models.wan_image import WanFirstFrameModel, WanImageModel
from densedpo.models.wan_vae import decode_whole, encode_whole, whole_clips

META = torch.device("meta")
LatentShape = tuple[int, int, int, int]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """One family, for the meta device."""

    build: Callable[[Path, Any, LoadOptions], Any]  # a VideoModel
    told: Callable[[Any, LatentShape], Shapes]  # captions as long as the model reads, and a first frame if it takes one
    encode: Callable[[Any, Tensor], object] = lambda vae, pixels_BCTHW: vae.encode(pixels_BCTHW)
    decode: Callable[[Any, Tensor], object] = lambda vae, latents_BCFHW: vae.decode(latents_BCFHW)
    first_frame: Callable[[Any, int], int] = lambda model, frames: 0  # frames encoded for the sake of the first one


def _encode_wan(vae: Any, pixels_BCTHW: Tensor) -> object:
    with whole_clips(vae):  # diffusers' way through a clip does the same work in many small operations
        return encode_whole(vae, pixels_BCTHW)


def _decode_wan(vae: Any, latents_BCFHW: Tensor) -> object:
    with whole_clips(vae):
        return decode_whole(vae, latents_BCFHW)


def _encode_sana(vae: Any, pixels_BCTHW: Tensor) -> object:
    return _encode_wan(vae, pixels_BCTHW) if isinstance(vae, AutoencoderKLWan) else vae.encode(pixels_BCTHW)


def _decode_sana(vae: Any, latents_BCFHW: Tensor) -> object:
    return _decode_wan(vae, latents_BCFHW) if isinstance(vae, AutoencoderKLWan) else vae.decode(latents_BCFHW)


def _decode_ltx(vae: Any, latents_BCFHW: Tensor) -> object:
    timestep_B = torch.zeros(len(latents_BCFHW), device=META) if vae.config.timestep_conditioning else None
    return vae.decode(latents_BCFHW, timestep_B)


def _build_mochi(folder: Path, pipeline: Any, options: LoadOptions) -> MochiModel:
    def rotary(frequencies: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = torch.einsum("nd,dhf->nhf", positions, frequencies.float())
        return angles.cos(), angles.sin()

    pipeline.transformer.rope._create_rope = rotary  # diffusers' own asks for autocast, which the meta device has not
    return MochiModel(folder, pipeline, options, side_defaults(folder))


def _build_wan_image(folder: Path, pipeline: Any, options: LoadOptions) -> WanImageModel:
    kind = WanFirstFrameModel if pipeline.config.expand_timesteps else WanImageModel
    return kind(folder, pipeline, options)


def _build_kandinsky5(folder: Path, pipeline: Any, options: LoadOptions) -> Kandinsky5Model:
    check_dense(folder)
    return Kandinsky5Model(folder, pipeline, options)


def _wan_text(model: Any, shape: LatentShape) -> Shapes:
    return {"text": (model.max_sequence_length, model.denoiser.config.text_dim)}


def _wan_image(model: Any, shape: LatentShape) -> Shapes:
    channels, frames, *plane = shape
    told = dict(_wan_text(model, shape))
    if isinstance(model, WanFirstFrameModel):
        return told | {"image": (channels, 1, *plane)}
    told["image"] = (model.temporal_factor + channels, frames, *plane)  # the mask, and the latents
    if model.denoiser.config.image_dim is not None:
        vision = model.pipeline.image_encoder.config
        told["image_embeds"] = ((vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
    return told


def _cogvideox_text(model: Any, shape: LatentShape) -> Shapes:
    return {"text": (model.config.max_text_seq_length, model.config.text_embed_dim)}


def _with_mask(width: str) -> Callable[[Any, LatentShape], Shapes]:
    def told(model: Any, shape: LatentShape) -> Shapes:
        length = model.max_sequence_length
        return {"text": (length, model.denoiser.config[width]), "mask": (length,)}

    return told


def _hunyuan_text(model: Any, shape: LatentShape) -> Shapes:
    config, length = model.denoiser.config, model.max_sequence_length
    text = {"text": (length, config.text_embed_dim), "mask": (length,)}
    return text | {"pooled": (config.pooled_projection_dim,), "guidance": ()}


def _hunyuan15_text(model: Any, shape: LatentShape) -> Shapes:
    config, pipeline = model.denoiser.config, model.pipeline
    length, glyphs = pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length
    text = {"text": (length, config.text_embed_dim), "mask": (length,)}
    return text | {"glyphs": (glyphs, config.text_embed_2_dim), "glyph_mask": (glyphs,)}


def _kandinsky5_text(model: Any, shape: LatentShape) -> Shapes:
    config, length = model.denoiser.config, model.max_sequence_length
    return {"text": (length, config.in_text_dim), "mask": (length,), "pooled": (config.in_text_dim2,)}


FAMILIES = {
    "WanPipeline": Family(WanModel, _wan_text, _encode_wan, _decode_wan),
    "WanImageToVideoPipeline": Family(
        _build_wan_image,
        _wan_image,
        _encode_wan,
        _decode_wan,
        # Grey frames behind the first one are encoded with it, but where it is a latent frame of its own.
        lambda model, frames: 1 if isinstance(model, WanFirstFrameModel) else frames,
    ),
    "SkyReelsV2Pipeline": Family(SkyReelsV2Model, _wan_text, _encode_wan, _decode_wan),
    "CogVideoXPipeline": Family(CogVideoXModel, _cogvideox_text),
    "CogVideoXImageToVideoPipeline": Family(
        CogVideoXImageModel,
        lambda model, shape: {**_cogvideox_text(model, shape), "image": shape},
        first_frame=lambda model, frames: 1,
    ),
    "LTXPipeline": Family(
        lambda folder, pipeline, options: LTXModel(folder, pipeline, options, side_defaults(folder)),
        _with_mask("caption_channels"),
        decode=_decode_ltx,
    ),
    "LTXConditionPipeline": Family(
        lambda folder, pipeline, options: LTXConditionModel(folder, pipeline, options, side_defaults(folder)),
        _with_mask("caption_channels"),
        decode=_decode_ltx,
    ),
    "MochiPipeline": Family(_build_mochi, _with_mask("text_embed_dim")),
    "HunyuanVideoPipeline": Family(HunyuanVideoModel, _hunyuan_text),
    "HunyuanVideo15Pipeline": Family(HunyuanVideo15Model, _hunyuan15_text),
    "Kandinsky5T2VPipeline": Family(_build_kandinsky5, _kandinsky5_text),
    "SanaVideoPipeline": Family(sana_video_model, _with_mask("caption_channels"), _encode_sana, _decode_sana),
}
