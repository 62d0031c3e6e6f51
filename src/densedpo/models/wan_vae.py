"""Wan's autoencoder over a whole clip at once: the streaming form's numbers in fewer, larger operations.

`AutoencoderKLWan.encode` and `.decode` walk through a clip four frames at a time with a cache, which bounds memory and
costs many small operations, about a tenth of the time on the embedded model's clips. Its layers are causal in time, so
one pass over all frames computes the same numbers: only the two layers that halve and double the frame rate must treat
the first frame apart, as the first chunk does.

Shapes: B batch, C channels, T frames, F latent frames, H height, W width.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanRMS_norm,
    patchify,
    unpatchify,
)
from torch import Tensor
from torch.nn.functional import pad

WHOLE_CLIP_BYTES = 2**30  # clips whose layers would need more are streamed
LIVE_TENSORS = 20  # of the outermost layers' size, at the peak of a pass: 9 to 19 were measured on the CPU
ONE_DNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def code_whole_clips(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Make `encode_whole` and `decode_whole` work on this autoencoder; its own `encode` and `decode` stop working."""
    for layer in vae.modules():
        if type(layer) in WHOLE_CLIP_FORWARDS:
            layer.forward = types.MethodType(WHOLE_CLIP_FORWARDS[type(layer)], layer)
    return vae


@contextmanager
def whole_clips(vae: AutoencoderKLWan) -> Iterator[None]:
    """`code_whole_clips` for as long as the block lasts."""
    code_whole_clips(vae)
    try:
        yield
    finally:
        for layer in vae.modules():
            if type(layer) in WHOLE_CLIP_FORWARDS:
                del layer.forward  # the instance's; the class has its own


def encode_whole(vae: AutoencoderKLWan, video_BCTHW: Tensor) -> Tensor:
    """The posterior's mode `[B, C, F, H', W']` of clips in -1..1, before normalisation."""
    size = vae.config.patch_size
    pixels = video_BCTHW if size is None else patchify(video_BCTHW, patch_size=size)
    return torch.as_tensor(vae.quant_conv(vae.encoder(pixels)).chunk(2, dim=1)[0])


def decode_whole(vae: AutoencoderKLWan, latents_BCFHW: Tensor) -> Tensor:
    """Clips `[B, 3, T, H, W]` around -1..1, not clamped, from latents before normalisation."""
    decoded = vae.decoder(vae.post_quant_conv(latents_BCFHW), first_chunk=True)
    size = vae.config.patch_size
    return torch.as_tensor(decoded if size is None else unpatchify(decoded, patch_size=size))


def encode_clips(vae: AutoencoderKLWan, video_BCTHW: Tensor) -> Tensor:
    """The posterior's mode, before normalisation: small clips whole, one after the other, else as diffusers does."""
    if not passes_whole(vae, *video_BCTHW.shape[2:]):
        return torch.as_tensor(vae.encode(video_BCTHW).latent_dist.mode())
    with whole_clips(vae):
        return torch.cat([encode_whole(vae, one) for one in torch.split(video_BCTHW, 1)])


def decode_clips(vae: AutoencoderKLWan, latents_BCFHW: Tensor) -> Tensor:
    """Clips `[B, 3, T, H, W]` in -1..1 from latents before normalisation, whole or streamed like `encode_clips`.

    One by one: large clips gain nothing by company and need the memory, and those of the embedded model are decoded
    quickest alone (benchmarks/pairs.py, "rows at once of the floor").
    """
    frames, height, width = latents_BCFHW.shape[2:]
    factor, scale = vae.config.scale_factor_temporal, vae.config.scale_factor_spatial
    if not passes_whole(vae, 1 + (frames - 1) * factor, height * scale, width * scale):
        return torch.cat([vae.decode(one).sample for one in torch.split(latents_BCFHW, 1)])
    with whole_clips(vae):
        parts = [decode_whole(vae, one) for one in torch.split(latents_BCFHW, 1)]
    return torch.cat(parts).clamp(-1, 1)


def passes_whole(vae: AutoencoderKLWan, frames: int, height: int, width: int) -> bool:
    """Whether a clip of this size passes whole within `WHOLE_CLIP_BYTES`; if not, it is streamed.

    The estimate: the outermost layers, at full resolution, hold the most numbers (`base_dim` channels for each pixel or
    patch of them), and `LIVE_TENSORS` tensors of that size are alive at once. Autoencoders that tile, or whose weights
    are elsewhere until they are called, are streamed.
    """
    if vae.use_tiling or hasattr(vae, "_hf_hook"):
        return False
    channels = max(vae.config.base_dim, vae.config.decoder_base_dim or 0)
    patch = vae.config.patch_size or 1
    numbers = channels * frames * (height // patch) * (width // patch)
    return bool(LIVE_TENSORS * numbers * vae.dtype.itemsize <= WHOLE_CLIP_BYTES)


def _convolve(layer: WanCausalConv3d, x: Tensor, cache_x: None = None) -> Tensor:
    """`WanCausalConv3d.forward` without a cache; x is `[B, C, T, H, W]`.

    On a CPU torch computes one small clip with a convolution that takes twice as long as oneDNN's, which it uses for
    two; here one goes to oneDNN as well.
    """
    x = pad(x, layer._padding)
    if len(x) == 1 and x.device.type == "cpu" and x.dtype == torch.float32 and ONE_DNN:
        geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
        return torch.mkldnn_convolution(x, layer.weight, layer.bias, *geometry)
    return torch.as_tensor(torch.nn.Conv3d.forward(layer, x))


def _resample(layer: WanResample, x: Tensor, feat_cache: None = None, feat_idx: object = None) -> Tensor:
    """`WanResample.forward` over all frames; x is `[B, C, T, H, W]`, the first frame is neither doubled nor paired."""
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        doubled = layer.time_conv(x[:, :, 1:]).unflatten(1, (2, x.shape[1]))
        x = torch.cat([x[:, :, :1], doubled.transpose(1, 2).transpose(2, 3).flatten(2, 3)], dim=2)
    frames = layer.resample(x.transpose(1, 2).flatten(0, 1))
    y = frames.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
    if layer.mode == "downsample3d" and y.shape[2] > 1:
        y = torch.cat([y[:, :, :1], layer.time_conv(y)], dim=2)
    return torch.as_tensor(y)


def _normalise(layer: WanRMS_norm, x: Tensor) -> Tensor:
    """`WanRMS_norm.forward`; x is `[B, C, ...]`.

    On a CPU torch takes three to six times as long over a norm of channels.
    """
    if not layer.channel_first or x.device.type != "cpu" or x.dtype != torch.float32:
        return torch.as_tensor(WanRMS_norm.forward(layer, x))
    lengths = x.square().sum(dim=1, keepdim=True).clamp_min(1e-24).sqrt()
    return torch.as_tensor(x * (layer.scale / lengths) * layer.gamma + layer.bias)


WHOLE_CLIP_FORWARDS: dict[type[torch.nn.Module], Callable[..., Tensor]] = {
    WanCausalConv3d: _convolve,
    WanResample: _resample,
    WanRMS_norm: _normalise,
}
