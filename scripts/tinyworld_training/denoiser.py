"""The tiny model's text encoder and denoiser, trained together on encoded clips, and the folder of all parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from densedpo.files import file_digest
from densedpo.models.wan_vae import encode_whole
from densedpo.tinyworld import world

from . import autoencoder
from .autoencoder import CHANNELS, as_tensors, make_fast
from .trainer import Muon, Trainer, precision

TEXT_CONFIG: dict[str, Any] = dict(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0)
CONFIG: dict[str, Any] = dict(
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
    steps=12, guidance=2.0, negative_prompt="", width=world.SIZE, height=world.SIZE, frames=world.FRAMES,
    fps=float(world.FPS), max_sequence_length=MAX_TOKENS,
)  # fmt: skip
BATCH = 32
CHUNK, POOL = 1024, 16 * 1024  # clips encoded at once; clips in all
FIRST_SCENE = 10_000_000  # scenes that the autoencoder never saw


class LatentPool:
    """Encoded clips of the base split, made in chunks as they are first needed, and kept on disk."""

    def __init__(self, out: Path, seed: int):
        self.seed, self.vae = seed, make_fast(autoencoder.load_encoder(out))
        of = file_digest(autoencoder.encoder_file(out))[:12]
        self.folder = out / "latents" / f"{of}-{seed}"  # of no other autoencoder or seed
        self.chunks: list[torch.Tensor] = []
        self.captions: list[str] = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def take(self, indices: list[int]) -> tuple[torch.Tensor, list[str]]:
        while len(self.captions) <= max(indices):
            self._grow()
        latents = torch.stack([self.chunks[i // CHUNK][i % CHUNK] for i in indices]).float()
        return latents, [self.captions[i] for i in indices]

    @torch.no_grad()
    def _grow(self) -> None:
        number = len(self.chunks)
        path = self.folder / f"{number:04d}.pt"
        first = FIRST_SCENE + number * CHUNK
        if not path.exists():
            parts = []
            scenes = [world.draw_scene(self.seed, i) for i in range(first, first + CHUNK)]
            for i in range(0, CHUNK, 16):
                with precision():
                    parts.append(encode_whole(self.vae, as_tensors(scenes[i : i + 16])[0]).half())
            torch.save(torch.cat(parts), path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        self.chunks.append(torch.load(path, weights_only=True))
        self.captions += [world.draw_scene(self.seed, i).attributes.caption for i in range(first, first + CHUNK)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the world's captions."""
    words = {w for split, _ in world.SPLITS for a in world.captions(split) for w in a.caption.split()}
    words |= {*world.SPEED_WORDS[1:], "an", "and", "spins"}  # what a caption of the world may say besides
    vocabulary = ["<pad>", "</s>", "<unk>", *sorted(words)]
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
        self.transformer = WanTransformer3DModel(**CONFIG)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        text = self.text_encoder(ids, mask).last_hidden_state * mask[..., None]
        return self.transformer(noisy, sigma * 1000, text, return_dict=False)[0]


def optimisers(model: TextToVideo) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    matrices = [p for n, p in model.transformer.blocks.named_parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, lr=0.02),
        torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(out: Path, steps: int, seed: int, until: int | None = None) -> Trainer:
    """Train `out/denoiser.pt` on the latents of the autoencoder there, or go on with it; `until` stops early."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = TextToVideo(len(tokenizer))
    pool = LatentPool(out, seed)
    first, _ = pool.take(list(range(CHUNK)))
    mean, std = first.mean(dim=(0, 2, 3, 4), keepdim=True), first.std(dim=(0, 2, 3, 4), keepdim=True)
    save_json(out / "latents.json", {"latents_mean": mean.flatten().tolist(), "latents_std": std.flatten().tolist()})
    trainer = Trainer("denoiser", out, model, optimisers(model), steps)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, 1, step])
        reach = min(POOL, CHUNK * (2 + step // 150))  # the pool grows as training goes on
        latents, captions = pool.take(rng.choice(reach, size=BATCH, replace=False).tolist())
        captions = ["" if drop else c for c, drop in zip(captions, rng.random(BATCH) < 0.1, strict=True)]
        text = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt")
        clean = (latents - mean) / std
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(clean.shape, generator=generator)
        sigma = torch.sigmoid(torch.randn(BATCH, generator=generator))  # logit-normal, unshifted
        t = sigma.view(-1, 1, 1, 1, 1)
        # For 81 tokens plain attention is twice as fast as the flash kernel on a CPU, forward and backward.
        with precision(), sdpa_kernel(SDPBackend.MATH):
            velocity = model((1 - t) * clean + t * noise, sigma, text.input_ids, text.attention_mask)
            loss = (velocity.float() - (noise - clean)).square().mean()
        return loss, {}

    trainer.run(loss_of, save_every=100, ema=0.998, until=until)
    return trainer


def save_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(out: Path, to: Path) -> None:
    """Put the averaged weights into a `WanPipeline` folder, in half precision."""
    tokenizer = build_tokenizer()
    model = TextToVideo(len(tokenizer))
    model.load_state_dict(torch.load(out / "denoiser.pt", weights_only=True)["averages"])
    vae = autoencoder.load(out)
    vae.register_to_config(**json.loads((out / "latents.json").read_text()))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipeline = WanPipeline(tokenizer, model.text_encoder, vae, scheduler, transformer=model.transformer)
    pipeline.to(torch.float16)
    pipeline.save_pretrained(to, safe_serialization=True)
    save_json(to / "densedpo.json", SAMPLING)
    size = sum(p.stat().st_size for p in to.rglob("*") if p.is_file())
    print(f"{to}: {size / 2**20:.1f} MiB")
