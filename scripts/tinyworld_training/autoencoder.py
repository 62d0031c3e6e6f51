"""The tiny model's autoencoder: on single pictures, which are cheap; on clips; then its decoder alone."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from numpy.typing import NDArray

from densedpo.models.wan_vae import code_whole_clips, decode_whole, encode_whole
from densedpo.tinyworld import world

from .trainer import Muon, Trainer, precision

CHANNELS = 16
CONFIG: dict[str, Any] = dict(
    base_dim=16,
    decoder_base_dim=24,
    z_dim=CHANNELS,
    dim_mult=[1, 2, 2],
    num_res_blocks=1,
    attn_scales=[],
    temperal_downsample=[True, True],
    is_residual=True,  # the shortcuts past each change of resolution, as in Wan 2.2: learns several times as fast
    patch_size=2,
    in_channels=12,
    out_channels=12,
    scale_factor_temporal=4,
    scale_factor_spatial=8,
)
PICTURES = 0.55  # of the steps see single pictures
HARDEST_OF = 8  # scenes
HARD = {"cross": 1.5, "star": 1.5, "white": 1.5, "grey": 1.25}  # times as hard as other shapes and backgrounds
FIRST_STEP = {"vae": 0, "clips": 10_000, "decoder": 20_000}  # every stage sees scenes of its own
RATES = {"vae": (1.0, 1.0), "clips": (0.5, 0.5), "decoder": (0.0, 0.5)}  # of the learning rate: encoder's, decoder's


def new_autoencoder() -> AutoencoderKLWan:
    return AutoencoderKLWan(latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS, **CONFIG)


@torch.no_grad()
def initialise(vae: AutoencoderKLWan) -> None:
    """Start as an autoencoder of single pictures, repeated over time, in which brightness gets through.

    Time: a kernel's taps on earlier frames start at zero and the layers that halve or double the frame rate start as
    identities, so that what single pictures teach holds for clips. Brightness: every block divides each position by its
    own length, so without large biases in the first layers black, navy and grey look nearly alike.
    """
    for name, layer in vae.named_modules():
        if not isinstance(layer, (torch.nn.Conv2d, torch.nn.Conv3d)):
            continue
        torch.nn.init.zeros_(layer.bias)
        if "time_conv" in name:
            layer.weight.zero_()
            outputs, inputs = layer.weight.shape[:2]
            layer.weight[:, :, -1, 0, 0] = torch.eye(inputs).repeat(outputs // inputs, 1)
            continue
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        if isinstance(layer, torch.nn.Conv3d) and layer.weight.shape[2] > 1:
            layer.weight[:, :, :-1] = 0.0
            layer.weight *= layer.weight.shape[2] ** 0.5
    torch.nn.init.normal_(vae.encoder.conv_in.bias, std=0.7)
    torch.nn.init.normal_(vae.decoder.conv_in.bias, std=0.7)


def _convolve_picture(layer: WanCausalConv3d, x: torch.Tensor, cache_x: None = None) -> torch.Tensor:
    """`WanCausalConv3d.forward`, but a clip of one frame meets only the last tap in time: a flat convolution."""
    if x.shape[2] > 1 or layer.stride[0] > 1:
        return WanCausalConv3d.forward(layer, x)
    left, right, top, bottom, _, _ = layer._padding
    frame = F.pad(x[:, :, 0], (left, right, top, bottom))
    return F.conv2d(frame, layer.weight[:, :, -1], layer.bias)[:, :, None]


def make_fast(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Whole clips in one pass, single pictures by flat convolutions: the same numbers, several times as fast."""
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            module.forward = types.MethodType(_convolve_picture, module)
    return code_whole_clips(vae)


def optimisers(vae: AutoencoderKLWan, stage: str) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between the first and the last layers, AdamW for those and for gains and biases."""
    ends = ("conv_in", "conv_out", "quant_conv")
    inner, rest = [], []
    for name, parameter in vae.named_parameters():
        if parameter.requires_grad:
            is_inner = parameter.ndim >= 4 and not any(end in name for end in ends) and "gamma" not in name
            rate = RATES[stage][0 if name.startswith(("encoder.", "quant_conv.")) else 1]
            (inner if is_inner else rest).append((parameter, rate))
    return [
        Muon([{"params": [p], "lr": 0.02 * rate} for p, rate in inner], lr=0.02),
        torch.optim.AdamW(
            [{"params": [p], "lr": 2e-3 * rate} for p, rate in rest], lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0
        ),
    ]


def as_tensors(scenes: list[world.Scene]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Rendered clips as [B, 3, T, H, W] in -1..1, what the shape covers [B, 1, T, H, W], captions."""
    video = np.stack([world.render(s) for s in scenes]).astype(np.float32) / 127.5 - 1
    shape = np.stack([world.coverage(s) for s in scenes]).astype(np.float32)
    return (
        torch.from_numpy(video).permute(0, 4, 1, 2, 3).contiguous(),
        torch.from_numpy(shape)[:, None],
        [s.attributes.caption for s in scenes],
    )


def batch(step: int, count: int, frames: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`count` stretches of `frames` frames, in windows of `size` pixels around the shape; what it covers; its bends.

    Each is the hardest of `HARDEST_OF` scenes: no speed, shape or background should come out worse than another.
    """
    rng = np.random.default_rng([seed, 0, step])
    parts, bends = [], []
    for row in range(count):
        first_scene = HARDEST_OF * (step * 32 + row)
        scene = max((world.draw_scene(seed, first_scene + i) for i in range(HARDEST_OF)), key=difficulty)
        first = int(rng.integers(0, world.FRAMES - frames + 1))
        seen = slice(first, first + frames)
        bends.append(torch.from_numpy(bend(scene)[seen]).float())
        scene = dataclasses.replace(scene, centres=scene.centres[seen], angles=scene.angles[seen])
        corner = scene.centres[frames // 2] - size / 2 + rng.integers(-8, 9, size=2)
        left, top = np.clip(corner, 0, world.SIZE - size).astype(int)
        video, shape, _ = as_tensors([scene])
        window = (..., slice(top, top + size), slice(left, left + size))
        parts.append((video[window], shape[window]))
    return torch.cat([v for v, _ in parts]), torch.cat([s for _, s in parts]), torch.stack(bends)


def difficulty(scene: world.Scene) -> float:
    """What reconstructions came out worst of: fast clips, thin arms and points, bright backgrounds."""
    look = scene.attributes
    return float(scene.speeds.sum()) * HARD.get(look.shape, 1.0) * HARD.get(look.background, 1.0)


def bend(scene: world.Scene) -> NDArray[np.float64]:
    """How far each frame, or one beside it, is off the straight way from its neighbours, [T]: 0 to 1 pixel, then 1.

    Four frames share a latent one, and where a fast shape meets a wall its position came out worst.
    """
    off = np.pad(np.linalg.norm(np.diff(scene.centres, n=2, axis=0), axis=1), 2)
    return np.minimum(np.maximum(np.maximum(off[:-2], off[1:-1]), off[2:]), 1.0)


def reconstruction_loss(
    vae: AutoencoderKLWan, video: torch.Tensor, shape: torch.Tensor, bends: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    # The shape is all of the picture's meaning: errors on and near it count eleven times, where it bounces thrice that.
    weight = 1 + 10 * F.max_pool3d(shape, (1, 5, 5), stride=1, padding=(0, 2, 2))
    weight = weight * (1 + 2 * bends[:, None, :, None, None])
    with precision():
        latents = encode_whole(vae, video)
        # Noise of a twentieth of each channel's spread: what a denoiser gets slightly wrong then decodes well.
        spread = latents.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
        noisy = latents + 0.05 * spread * torch.randn(latents.shape, generator=generator)
        decoded = decode_whole(vae, noisy)
    # Squared errors find the shape (absolute ones alone paint it over with background), absolute ones sharpen it.
    difference = decoded.float() - video
    error = (weight * (difference.square() + 0.2 * difference.abs())).sum() / weight.sum() / 3
    if video.shape[2] > 1:  # errors that change from frame to frame are seen as flicker
        flicker = difference.diff(dim=2).square()
        error = error + 0.5 * (weight[:, :, 1:] * flicker).sum() / weight[:, :, 1:].sum() / 3
    squared = difference[(shape > 0.01).expand_as(video)].square().mean()
    psnr = 10 * torch.log10(4 / squared).item()
    return error, dict(psnr_shape=psnr, spread=spread.mean().item())


def train(out: Path, steps: int, seed: int, until: int | None = None) -> Trainer:
    """Train `out/vae.pt`, or go on with it; `until` stops early."""
    torch.manual_seed(seed)
    vae = new_autoencoder()
    initialise(vae)
    make_fast(vae)
    trainer = Trainer("vae", out, vae, optimisers(vae, "vae"), steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        count, frames = (32, 1) if step < PICTURES * steps else (4, world.FRAMES)
        video, shape, bends = batch(step, count, frames, 32, seed)
        return reconstruction_loss(vae, video, shape, bends, torch.Generator().manual_seed(seed * 1_000_003 + step))

    trainer.run(loss_of, save_every=100, ema=0.99, until=until)
    return trainer


def train_clips(out: Path, steps: int, seed: int, until: int | None = None) -> Trainer:
    """Train all of it further on clips, as `out/clips.pt`, beginning with the weights of `out/vae.pt`."""
    vae = make_fast(_saved(out / "vae.pt"))
    return _train_on_clips("clips", out, vae, steps, seed, until)


def train_decoder(out: Path, steps: int, seed: int, until: int | None = None) -> Trainer:
    """Train the decoder further, as `out/decoder.pt`: the latents stay, so a denoiser can be trained meanwhile."""
    vae = make_fast(load_encoder(out))
    vae.decoder.requires_grad_(True)
    vae.post_quant_conv.requires_grad_(True)
    return _train_on_clips("decoder", out, vae, steps, seed, until)


def _train_on_clips(stage: str, out: Path, vae: AutoencoderKLWan, steps: int, seed: int, until: int | None) -> Trainer:
    trainer = Trainer(stage, out, vae, optimisers(vae, stage), steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        # Half the length in larger windows: a fast shape stays in view. Whole clips at the end.
        count, frames, size = (6, 17, 40) if step < 0.8 * steps else (4, world.FRAMES, 32)
        video, shape, bends = batch(FIRST_STEP[stage] + step, count, frames, size, seed)
        return reconstruction_loss(vae, video, shape, bends, torch.Generator().manual_seed(seed * 1_000_003 + step))

    trainer.run(loss_of, save_every=100, ema=0.998, until=until)
    return trainer


def encoder_file(out: Path) -> Path:
    """Where the encoder is finished: the second stage, or the first where there is no second."""
    return out / "clips.pt" if (out / "clips.pt").exists() else out / "vae.pt"


def load_encoder(out: Path) -> AutoencoderKLWan:
    """The autoencoder of the first two stages: the average of its weights over the last hundreds of steps."""
    return _saved(encoder_file(out)).eval().requires_grad_(False)


def load(out: Path) -> AutoencoderKLWan:
    """The same with the decoder of the third stage, if there is one."""
    path = out / "decoder.pt" if (out / "decoder.pt").exists() else encoder_file(out)
    return _saved(path).eval().requires_grad_(False)


def _saved(path: Path) -> AutoencoderKLWan:
    vae = new_autoencoder()
    vae.load_state_dict(torch.load(path, weights_only=True)["averages"])
    return vae
