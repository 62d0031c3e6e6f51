"""Train the embedded tiny text-to-video model on the procedural world, from nothing.

    python scripts/train_tinyworld.py vae       --out build/tinyworld
    python scripts/train_tinyworld.py denoiser  --out build/tinyworld
    python scripts/train_tinyworld.py export    --out build/tinyworld --to src/densedpo/tinyworld/model

Every stage is resumable: stopped at any moment and run again with the same arguments, it goes on
from its last checkpoint, bit for bit. Batches are pure functions of (seed, step).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

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

TEXT_CONFIG: dict[str, Any] = dict(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0)
DENOISER_CONFIG: dict[str, Any] = dict(
    patch_size=(1, 2, 2),
    num_attention_heads=6,
    attention_head_dim=32,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    text_dim=64,
    freq_dim=128,
    ffn_dim=512,
    num_layers=6,
    rope_max_seq_len=64,
)
MAX_TOKENS = 24
SHIFT = 1.0  # small latents need no shift towards noise
SAMPLING: dict[str, Any] = dict(
    steps=12, guidance=3.0, negative_prompt="", width=world.SIZE, height=world.SIZE, frames=world.FRAMES,
    fps=float(world.FPS), max_sequence_length=MAX_TOKENS,
)  # fmt: skip
CHUNK, POOL = 1024, 10 * 1024  # clips encoded at once; clips in all
FIRST_DENOISER_SCENE = 1_000_000  # scenes that the autoencoder never saw


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz (Keller Jordan, 2024), for kernels too: flattened to matrices.

    PyTorch's own `torch.optim.Muon` takes matrices only.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(average, group["momentum"]).flatten(1))
                rows, columns = update.shape
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrix, roughly: five quintic Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).float()


class Trainer:
    """The part both trainings share: schedule, checkpoints, log. State lives in `out/NAME.pt`."""

    def __init__(
        self, name: str, out: Path, module: torch.nn.Module, optimisers: list[torch.optim.Optimizer], steps: int
    ):
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
            module=self.module.state_dict(),
            averages=self.averages,
            step=self.step,
            seconds=self.seconds,
            optimisers=[o.state_dict() for o in self.optimisers],
        )
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)


def as_tensors(scenes: list[world.Scene]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Rendered clips as [B, 3, T, H, W] in -1..1, what the shape covers [B, 1, T, H, W], captions."""
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


@torch.no_grad()
def initialise_vae(vae: AutoencoderKLWan) -> None:
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


def vae_optimisers(vae: AutoencoderKLWan) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between the first and the last layers, AdamW for those and for gains and biases."""
    ends = ("conv_in", "conv_out", "quant_conv")
    inner = [p for n, p in vae.named_parameters() if p.ndim >= 4 and not any(e in n for e in ends) and "gamma" not in n]
    inside = {id(p) for p in inner}
    rest = [p for p in vae.parameters() if id(p) not in inside]
    return [Muon(inner, lr=0.02), torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)]


def vae_batch(step: int, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips and what the shape covers, in windows around it: single pictures, then short clips, then whole ones."""
    count, frames, side = (32, 1, 32) if step < 0.2 * steps else (8, 9, 32) if step < 0.7 * steps else (3, 33, 32)
    rng = np.random.default_rng([seed, 0, step])
    parts = []
    for row in range(count):
        scene = world.draw_scene(seed, step * 32 + row)
        first = int(rng.integers(0, world.FRAMES - frames + 1))
        seen = slice(first, first + frames)
        scene = dataclasses.replace(scene, centres=scene.centres[seen], angles=scene.angles[seen])
        corner = scene.centres[frames // 2] - side / 2 + rng.integers(-8, 9, size=2)
        left, top = np.clip(corner, 0, world.SIZE - side).astype(int)
        video, shape, _ = as_tensors([scene])
        window = (..., slice(top, top + side), slice(left, left + side))
        parts.append((video[window], shape[window]))
    return torch.cat([v for v, _ in parts]), torch.cat([s for _, s in parts])


def train_vae(out: Path, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS, **VAE_CONFIG)
    initialise_vae(vae)
    trainer = Trainer("vae", out, vae, vae_optimisers(vae), steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        video, shape = vae_batch(step, steps, seed)
        # The shape is all of the picture's meaning: errors on and near it count eleven times.
        weight = 1 + 10 * F.max_pool3d(shape, (1, 5, 5), stride=1, padding=(0, 2, 2))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(video).latent_dist.mean
            # Noise of a twentieth of each channel's spread: what a denoiser gets slightly wrong then decodes well.
            spread = latents.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
            noisy = latents + 0.05 * spread * torch.randn(latents.shape, generator=generator)
            decoded = decode_unclamped(vae, noisy)
        # Squared errors find the shape (absolute ones alone paint it over with background), absolute ones sharpen it.
        difference = decoded.float() - video
        error = (weight * (difference.square() + 0.2 * difference.abs())).sum() / weight.sum() / 3
        squared = difference[(shape > 0.01).expand_as(video)].square().mean()
        psnr = 10 * torch.log10(4 / squared).item()
        return error, dict(psnr_shape=psnr, spread=spread.mean().item())

    trainer.run(loss_of, save_every=50, ema=0.99)


def load_vae(out: Path) -> AutoencoderKLWan:
    """The trained autoencoder: the average of its weights over the last hundreds of steps."""
    vae = AutoencoderKLWan(latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS, **VAE_CONFIG)
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True)["averages"])
    return vae.eval().requires_grad_(False)


class LatentPool:
    """Encoded clips of the base split, made in chunks as they are first needed, and kept on disk."""

    def __init__(self, out: Path, seed: int):
        self.folder, self.seed, self.vae = out / "latents", seed, load_vae(out)
        self.chunks: list[torch.Tensor] = []
        self.captions: list[str] = []
        self.folder.mkdir(exist_ok=True)

    def take(self, indices: list[int]) -> tuple[torch.Tensor, list[str]]:
        while len(self.captions) <= max(indices):
            self._grow()
        latents = torch.stack([self.chunks[i // CHUNK][i % CHUNK] for i in indices]).float()
        return latents, [self.captions[i] for i in indices]

    @torch.no_grad()
    def _grow(self) -> None:
        number = len(self.chunks)
        path = self.folder / f"{number:04d}.pt"
        first = FIRST_DENOISER_SCENE + number * CHUNK
        if not path.exists():
            parts = []
            scenes = [world.draw_scene(self.seed, i) for i in range(first, first + CHUNK)]
            for i in range(0, CHUNK, 16):
                with torch.autocast("cpu", torch.bfloat16):
                    parts.append(self.vae.encode(as_tensors(scenes[i : i + 16])[0]).latent_dist.mean.half())
            torch.save(torch.cat(parts), path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        self.chunks.append(torch.load(path, weights_only=True))
        self.captions += [world.draw_scene(self.seed, i).attributes.caption for i in range(first, first + CHUNK)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the world's captions."""
    words = {w for split, _ in world.SPLITS for a in world.captions(split) for w in a.caption.split()}
    vocabulary = ["<pad>", "</s>", "<unk>", *sorted(words | set(world.SPEED_WORDS[1:]) | {"an"})]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=MAX_TOKENS
    )


class TextToVideo(torch.nn.Module):
    """Text encoder and denoiser, trained together; text as `WanPipeline` hands it over: zero beyond a prompt's end."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.text_encoder = UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, **TEXT_CONFIG))
        self.transformer = WanTransformer3DModel(**DENOISER_CONFIG)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        text = self.text_encoder(ids, mask).last_hidden_state * mask[..., None]
        return self.transformer(noisy, sigma * 1000, text, return_dict=False)[0]


def optimisers_for(model: TextToVideo, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in model.transformer.blocks.named_parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, lr=0.02),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train_denoiser(out: Path, steps: int, seed: int, batch: int = 32) -> None:
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = TextToVideo(len(tokenizer))
    pool = LatentPool(out, seed)
    first, _ = pool.take(list(range(CHUNK)))
    mean, std = first.mean(dim=(0, 2, 3, 4), keepdim=True), first.std(dim=(0, 2, 3, 4), keepdim=True)
    save_json(out / "latents.json", {"latents_mean": mean.flatten().tolist(), "latents_std": std.flatten().tolist()})
    trainer = Trainer("denoiser", out, model, optimisers_for(model, 1e-3), steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, 1, step])
        reach = min(POOL, CHUNK * (2 + step // 150))  # the pool grows as training goes on
        latents, captions = pool.take(rng.choice(reach, size=batch, replace=False).tolist())
        captions = ["" if drop else c for c, drop in zip(captions, rng.random(batch) < 0.1, strict=True)]
        text = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt")
        clean = (latents - mean) / std
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = torch.sigmoid(torch.randn(batch, generator=generator))  # logit-normal, unshifted
        t = sigma.view(-1, 1, 1, 1, 1)
        velocity = model((1 - t) * clean + t * noise, sigma, text.input_ids, text.attention_mask)
        return (velocity - (noise - clean)).square().mean(), {}

    trainer.run(loss_of, save_every=250, ema=0.998)


def save_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(out: Path, to: Path) -> None:
    """Put the averaged weights into a `WanPipeline` folder, in half precision."""
    tokenizer = build_tokenizer()
    model = TextToVideo(len(tokenizer))
    model.load_state_dict(torch.load(out / "denoiser.pt", weights_only=True)["averages"])
    vae = load_vae(out)
    vae.register_to_config(**json.loads((out / "latents.json").read_text()))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipeline = WanPipeline(tokenizer, model.text_encoder, vae, scheduler, transformer=model.transformer)
    pipeline.to(torch.float16)
    pipeline.save_pretrained(to, safe_serialization=True)
    save_json(to / "densedpo.json", SAMPLING)
    size = sum(p.stat().st_size for p in to.rglob("*") if p.is_file())
    print(f"{to}: {size / 2**20:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae", "denoiser", "export"])
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints, latents and logs go")
    parser.add_argument("--steps", type=int, help="1600 for the autoencoder, 2100 for the denoiser if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--to", type=Path, default=Path("src/densedpo/tinyworld/model"), help="export: the model folder"
    )
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.stage == "vae":
        train_vae(args.out, args.steps or 1600, args.seed)
    elif args.stage == "denoiser":
        train_denoiser(args.out, args.steps or 2100, args.seed)
    else:
        export(args.out, args.to)


if __name__ == "__main__":
    main()
