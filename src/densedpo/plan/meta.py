"""Models without weights: every tensor is on torch's meta device, where operations compute shapes and nothing else.

The families' own classes run on it, so that what is counted is what training and sampling do.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel
from densedpo.errors import UserError
from densedpo.models.pipelines import LoadOptions
from densedpo.plan.families import FAMILIES, META, Family

MASKS = ("mask", "glyph_mask")
CONFIGURED = ("scheduler_config.json", "guider_config.json")  # parts without weights, by their config file


@dataclass(frozen=True)
class MetaModel:
    """A family's model on the meta device."""

    model: VideoModel
    family: Family
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
        told = {
            name: torch.empty((1, *size), device=META, dtype=torch.bool if name in MASKS else torch.float32)
            for name, size in self.family.told(self.model, shape).items()
        }
        return torch.empty((1, *shape), device=META), torch.tensor([0.5]), Conditioning(told)

    def encode(self, frames: int, height: int, width: int) -> None:
        """The autoencoder's work of turning a clip into latents, and its first frame if the network is told it."""
        for length in (frames, self.family.first_frame(self.model, frames)):
            if length:
                self.family.encode(self.vae, torch.empty((1, 3, length, height, width), device=META))

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
        raise UserError(f"there are no plans for {name} yet: give a model of the kind {', '.join(sorted(FAMILIES))}")
    family, kind = FAMILIES[name], getattr(diffusers, name)
    settings = {key: value for key, value in index.items() if not isinstance(value, list) and key[0] != "_"}
    parts = {key: _part(folder / key, value, dtype) for key, value in index.items() if isinstance(value, list)}
    encoders = tuple(part for part in parts.values() if isinstance(part, transformers.PreTrainedModel))
    used = {key: part for key, part in parts.items() if part not in encoders or key == "image_encoder"}
    left_out = {key for key, each in inspect.signature(kind).parameters.items() if each.default is each.empty}
    pipeline = kind(**dict.fromkeys(left_out) | settings | used)
    return MetaModel(family.build(folder, pipeline, LoadOptions(META, dtype)), family, encoders)


def _part(folder: Path, name: list[str | None], dtype: torch.dtype) -> Any:
    """A part of a pipeline: networks on the meta device, schedulers and guiders as they are, tokenizers not at all."""
    library, kind = name
    if library == "diffusers" and any((folder / file).exists() for file in CONFIGURED):
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
