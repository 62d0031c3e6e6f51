"""Models without weights: every tensor is on torch's meta device, where operations compute shapes and nothing else.

The families' own classes run on it, so that what is counted is what training and sampling do.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel
from densedpo.errors import UserError
from densedpo.models.cogvideox import CogVideoXModel
from densedpo.models.hunyuan_video import HunyuanVideoModel
from densedpo.models.ltx import LTXModel
from densedpo.models.mochi import MochiModel
from densedpo.models.pipelines import LoadOptions, side_defaults
from densedpo.models.wan import WanModel
from densedpo.models.wan_vae import decode_whole, encode_whole, whole_clips

META = torch.device("meta")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Family:
    """What a plan must know of a family besides its class: the shapes of one caption, and how its autoencoder runs."""

    build: Callable[[Path, Any, LoadOptions], Any]  # a VideoModel
    caption: Callable[[Any], Shapes]  # of captions as long as the model reads
    encode: Callable[[Any, Tensor], object] = lambda vae, pixels_BCTHW: vae.encode(pixels_BCTHW)
    decode: Callable[[Any, Tensor], object] = lambda vae, latents_BCFHW: vae.decode(latents_BCFHW)


def _encode_wan(vae: Any, pixels_BCTHW: Tensor) -> object:
    with whole_clips(vae):  # diffusers' way through a clip does the same work in many small operations
        return encode_whole(vae, pixels_BCTHW)


def _decode_wan(vae: Any, latents_BCFHW: Tensor) -> object:
    with whole_clips(vae):
        return decode_whole(vae, latents_BCFHW)


def _decode_ltx(vae: Any, latents_BCFHW: Tensor) -> object:
    timestep_B = torch.zeros(len(latents_BCFHW), device=META) if vae.config.timestep_conditioning else None
    return vae.decode(latents_BCFHW, timestep_B)


def _build_mochi(folder: Path, pipeline: Any, options: LoadOptions) -> MochiModel:
    def rotary(frequencies: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = torch.einsum("nd,dhf->nhf", positions, frequencies.float())
        return angles.cos(), angles.sin()

    pipeline.transformer.rope._create_rope = rotary  # diffusers' own asks for autocast, which the meta device has not
    return MochiModel(folder, pipeline, options, side_defaults(folder))


def _with_mask(width: str) -> Callable[[Any], Shapes]:
    def caption(model: Any) -> Shapes:
        length = model.max_sequence_length
        return {"text": (length, model.denoiser.config[width]), "mask": (length,)}

    return caption


def _hunyuan_caption(model: Any) -> Shapes:
    config, length = model.denoiser.config, model.max_sequence_length
    text = {"text": (length, config.text_embed_dim), "mask": (length,)}
    return text | {"pooled": (config.pooled_projection_dim,), "guidance": ()}


FAMILIES = {
    "WanPipeline": _Family(
        WanModel,
        lambda model: {"text": (model.max_sequence_length, model.denoiser.config.text_dim)},
        _encode_wan,
        _decode_wan,
    ),
    "CogVideoXPipeline": _Family(
        CogVideoXModel,
        lambda model: {"text": (model.config.max_text_seq_length, model.config.text_embed_dim)},
    ),
    "LTXPipeline": _Family(
        lambda folder, pipeline, options: LTXModel(folder, pipeline, options, side_defaults(folder)),
        _with_mask("caption_channels"),
        decode=_decode_ltx,
    ),
    "MochiPipeline": _Family(
        _build_mochi,
        _with_mask("text_embed_dim"),
    ),
    "HunyuanVideoPipeline": _Family(HunyuanVideoModel, _hunyuan_caption),
}


@dataclass(frozen=True)
class MetaModel:
    """A family's model on the meta device."""

    model: VideoModel
    family: _Family
    text_encoders: tuple[torch.nn.Module, ...]

    @property
    def vae(self) -> torch.nn.Module:
        """The autoencoder."""
        vae: torch.nn.Module = self.model.vae  # type: ignore[attr-defined]
        return vae

    @property
    def denoisers(self) -> tuple[torch.nn.Module, ...]:
        """The denoiser that is trained and, of a model with two experts, the other one after it."""
        experts = getattr(self.model, "experts", {}).values()
        return (self.model.denoiser, *{expert for expert in experts if expert is not self.model.denoiser})

    def inputs(self, shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Conditioning]:
        """What `predict` takes for one clip whose latents have this `(C, F, H', W')`."""
        caption = {
            name: torch.empty((1, *size), device=META, dtype=torch.bool if name == "mask" else torch.float32)
            for name, size in self.family.caption(self.model).items()
        }
        return torch.empty((1, *shape), device=META), torch.tensor([0.5]), Conditioning(caption)

    def encode(self, frames: int, height: int, width: int) -> None:
        """The autoencoder's work of turning a clip into latents."""
        self.family.encode(self.vae, torch.empty((1, 3, frames, height, width), device=META))

    def decode(self, shape: tuple[int, int, int, int]) -> None:
        """The autoencoder's work of turning latents into a clip."""
        channels, frames, height, width = shape
        shown = frames - self.model.padding_frames
        self.family.decode(self.vae, torch.empty((1, channels, shown, height, width), device=META))


def load_meta(folder: Path, dtype: torch.dtype) -> MetaModel:
    """The model whose config files are in `folder`.

    Raises:
        UserError: a pipeline class for which there are no plans.
    """
    index = json.loads((folder / "model_index.json").read_text())
    name = index.pop("_class_name")
    if name not in FAMILIES:
        raise UserError(f"there are no plans for {name} yet: they know {', '.join(sorted(FAMILIES))}")
    family, kind = FAMILIES[name], getattr(diffusers, name)
    settings = {key: value for key, value in index.items() if not isinstance(value, list) and key[0] != "_"}
    parts = {key: _part(folder / key, value, dtype) for key, value in index.items() if isinstance(value, list)}
    encoders = tuple(part for part in parts.values() if isinstance(part, transformers.PreTrainedModel))
    used = {key: part for key, part in parts.items() if part not in encoders}
    left_out = {key for key, each in inspect.signature(kind).parameters.items() if each.default is each.empty}
    pipeline = kind(**dict.fromkeys(left_out) | settings | used)
    return MetaModel(family.build(folder, pipeline, LoadOptions(META, dtype)), family, encoders)


def _part(folder: Path, name: list[str | None], dtype: torch.dtype) -> Any:
    """A part of a pipeline: networks on the meta device, schedulers as they are, tokenizers not at all."""
    library, kind = name
    if library == "diffusers" and (folder / "scheduler_config.json").exists():
        return getattr(diffusers, str(kind)).from_pretrained(folder)
    if not (folder / "config.json").exists():
        return None
    config = json.loads((folder / "config.json").read_text())
    with META:
        if library == "transformers":
            cls = getattr(transformers, str(kind))
            return cls(cls.config_class.from_dict(config)).to(dtype).requires_grad_(False)
        cls = getattr(diffusers, str(kind))
        part = cls.from_config(config)
    return as_loaded(part.to(META), torch.float32 if "Autoencoder" in str(kind) else dtype)


def as_loaded(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """In `dtype`, but for what `from_pretrained` keeps in float32; frozen."""
    in_float32 = getattr(network, "_keep_in_fp32_modules", None) or ()
    for name, parameter in network.named_parameters():
        kept = any(part in name.split(".") for part in in_float32)
        parameter.data = parameter.data.to(torch.float32 if kept else dtype)
        parameter.requires_grad_(False)
    return network
