"""Begin with the weights of a model folder instead of from nothing, its autoencoder widened if it is smaller."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5EncoderModel

from . import autoencoder, denoiser
from .trainer import Trainer


def warm_start(model: Path, out: Path) -> None:
    """Write `vae.pt`, for the other stages to go on from, and `denoiser.pt` at step 0."""
    vae, old = autoencoder.new_autoencoder(), AutoencoderKLWan.from_pretrained(model / "vae", torch_dtype=torch.float32)
    autoencoder.initialise(vae)
    widen(vae, old)
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"averages": vae.state_dict()}, out / "vae.pt")

    text_to_video = denoiser.TextToVideo(len(denoiser.build_tokenizer()))
    text_encoder = UMT5EncoderModel.from_pretrained(model / "text_encoder", dtype=torch.float32)
    transformer = WanTransformer3DModel.from_pretrained(model / "transformer", torch_dtype=torch.float32)
    text_to_video.text_encoder.load_state_dict(text_encoder.state_dict())
    text_to_video.transformer.load_state_dict(transformer.state_dict())
    Trainer("denoiser", out, text_to_video, denoiser.optimisers(text_to_video), steps=1).save()


@torch.no_grad()
def widen(wide: AutoencoderKLWan, narrow: AutoencoderKLWan) -> None:
    """Make `wide`, whose layers have as many channels or more, compute what `narrow` computes.

    Old channels come first. What writes new channels is zero and what reads them is as `wide` had it, so they add
    nothing yet, and learn (Net2Net, Chen et al., arXiv 1511.05641, with zeros in place of copies).
    """
    for name, old in narrow.state_dict().items():
        new = wide.get_parameter(name)
        if name.endswith("gamma"):  # normalised lengths grow with the number of channels
            new[: len(old)] = old * (len(old) / len(new)) ** 0.5
            continue
        # Layers whose outputs are several tensors side by side are widened in each of them.
        parts = 3 if "to_qkv" in name else 2 if "upsampler.time_conv" in name else 1
        for part, (into, values) in enumerate(zip(new.chunk(parts), old.chunk(parts), strict=True)):
            is_query = parts == 3 and part == 0  # attention divides by the root of the number of channels
            into[len(values) :] = 0.0
            into[tuple(slice(n) for n in values.shape)] = values * ((len(into) / len(values)) ** 0.5 if is_query else 1)
