"""Train the embedded tiny text-to-video model on the procedural world, from nothing.

    python scripts/train_tinyworld.py vae       --out build/tinyworld
    python scripts/train_tinyworld.py latents   --out build/tinyworld
    python scripts/train_tinyworld.py denoiser  --out build/tinyworld
    python scripts/train_tinyworld.py export    --out build/tinyworld --to src/densedpo/tinyworld/model

Every stage is resumable: stopped at any moment and run again with the same arguments, it goes on
from its last checkpoint, bit for bit. Batches are pure functions of (seed, step).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

from densedpo.tinyworld import world

CHANNELS = 8
VAE_CONFIG: dict[str, Any] = dict(
    base_dim=16,
    z_dim=CHANNELS,
    dim_mult=[1, 2, 4],
    num_res_blocks=1,
    attn_scales=[],
    temperal_downsample=[True, True],
    patch_size=2,
    in_channels=12,
    out_channels=12,
    scale_factor_temporal=4,
    scale_factor_spatial=8,
)


class Trainer:
    """The part both trainings share: schedule, checkpoints, log. State lives in `out/NAME.pt`."""

    def __init__(self, name: str, out: Path, module: torch.nn.Module, optimisers: list[torch.optim.Optimizer], steps: int):
        self.name, self.out, self.module, self.optimisers, self.steps = name, out, module, optimisers, steps
        self.step, self.seconds = 0, 0.0
        self.peak_lr = [[g["lr"] for g in o.param_groups] for o in optimisers]
        self.averages = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.path = out / f"{name}.pt"
        out.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            module.load_state_dict(state["module"])
            for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.step, self.seconds, self.averages = state["step"], state["seconds"], state["averages"]
            print(f"{name}: resumed at step {self.step}")

    def learning_rate(self) -> float:
        """Warm up over 100 steps, hold, and fall linearly to zero over the last 30%, as a share of the peak."""
        left = (self.steps - self.step) / (0.3 * self.steps)
        return min(1.0, (self.step + 1) / 100, left)

    def run(self, loss_of: Callable[[int], tuple[torch.Tensor, dict[str, float]]], save_every: int, ema: float) -> None:
        log = (self.out / f"{self.name}.jsonl").open("a")
        while self.step < self.steps:
            began = time.time()
            for optimiser, peaks in zip(self.optimisers, self.peak_lr, strict=True):
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * self.learning_rate()
            loss, extra = loss_of(self.step)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            self.step += 1
            decay = min(ema, self.step / (self.step + 10))
            with torch.no_grad():
                for key, value in self.module.state_dict().items():
                    self.averages[key].lerp_(value, 1 - decay)
            self.seconds += time.time() - began
            if self.step % 20 == 0:
                row = dict(step=self.step, loss=loss.item(), norm=norm.item(), seconds=round(self.seconds, 1), **extra)
                print(json.dumps(row), file=log, flush=True)
            if self.step % save_every == 0 or self.step == self.steps:
                self.save()
        log.close()

    def save(self) -> None:
        state = dict(
            module=self.module.state_dict(), averages=self.averages, step=self.step, seconds=self.seconds,
            optimisers=[o.state_dict() for o in self.optimisers],
        )
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)


def clips(seed: int, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Rendered clips as [B, 3, T, H, W] in -1..1, what the shape covers [B, 1, T, H, W], captions."""
    scenes = [world.draw_scene(seed, i) for i in range(first, first + count)]
    video = np.stack([world.render(s) for s in scenes]).astype(np.float32) / 127.5 - 1
    shape = np.stack([world.coverage(s) for s in scenes]).astype(np.float32)
    return (
        torch.from_numpy(video).permute(0, 4, 1, 2, 3).contiguous(),
        torch.from_numpy(shape)[:, None],
        [s.attributes.caption for s in scenes],
    )


def decode_unclamped(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """`vae.decode` without its last clamp to -1..1, which stops the gradient wherever the output overshoots."""
    vae.clear_cache()
    hidden = vae.post_quant_conv(latents)
    chunks = []
    for i in range(latents.shape[2]):
        vae._conv_idx = [0]
        first = dict(first_chunk=True) if i == 0 else {}
        chunks.append(vae.decoder(hidden[:, :, i : i + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first))
    vae.clear_cache()
    return unpatchify(torch.cat(chunks, dim=2), patch_size=vae.config.patch_size)


def initialise_vae(vae: AutoencoderKLWan) -> None:
    """Start where brightness gets through.

    Every block divides each position by its own length, so without biases black, navy and grey look alike to the encoder,
    and with PyTorch's small default ones they nearly do: the first hundreds of steps go into growing them.
    """
    for layer in vae.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Conv3d)):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            torch.nn.init.zeros_(layer.bias)
    torch.nn.init.normal_(vae.encoder.conv_in.bias, std=0.7)
    torch.nn.init.normal_(vae.decoder.conv_in.bias, std=0.7)


def train_vae(out: Path, steps: int, seed: int, batch: int = 8) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS, **VAE_CONFIG)
    initialise_vae(vae)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    trainer = Trainer("vae", out, vae, [optimiser], steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        frames = 5 if step < 0.5 * steps else 9 if step < 0.9 * steps else 17
        video, shape, _ = clips(seed, step * batch, batch)
        start = int(np.random.default_rng([seed, step]).integers(0, video.shape[2] - frames + 1))
        video, shape = video[:, :, start : start + frames], shape[:, :, start : start + frames]
        # The shape is a tenth of the picture and all of its meaning: errors on and near it count eleven times.
        weight = 1 + 10 * F.max_pool3d(shape, (1, 5, 5), stride=1, padding=(0, 2, 2))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(video).latent_dist.mean
            # Noise of a tenth of each channel's own spread: latents that a denoiser gets slightly wrong still decode well.
            spread = latents.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
            latents = latents + 0.1 * spread * torch.randn(latents.shape, generator=generator)
            decoded = decode_unclamped(vae, latents)
        # Squared errors first find the shape (absolute ones would paint it over with the background), absolute ones then sharpen it.
        difference = decoded.float() - video
        error = (weight * (difference.square() + 0.2 * difference.abs())).sum() / weight.sum() / 3
        squared = difference[(shape > 0.01).expand_as(video)].square().mean()
        psnr = 10 * torch.log10(4 / squared).item()
        return error, dict(psnr_shape=psnr, spread=spread.mean().item())

    trainer.run(loss_of, save_every=200, ema=0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae", "latents", "denoiser", "export"])
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints, latents and logs go")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.stage == "vae":
        train_vae(args.out, args.steps, args.seed)


if __name__ == "__main__":
    main()
