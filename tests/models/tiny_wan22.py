"""Wan 2.2 folders, tiny and with random weights: the same classes and settings that set them apart, fewer numbers."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

from tiny_models import CHANNELS, DEFAULTS, TEXT_WIDTH, _autoencoder, _text_encoder, _tokenizer, _transformer

SHIFT = 3.0
BOUNDARY = 0.875  # T2V A14B's


def random_a14b(folder: Path) -> Path:
    """Two experts, one autoencoder of Wan 2.1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pipeline = WanPipeline(
            tokenizer=_tokenizer(),
            text_encoder=_text_encoder(),
            transformer=_transformer(),
            transformer_2=_transformer(),
            vae=_autoencoder(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
            boundary_ratio=BOUNDARY,
        )
    return _saved(pipeline, folder)


def random_ti2v(folder: Path) -> Path:
    """A timestep for every token, and the autoencoder of Wan 2.2: 48 channels, factor 16, residual blocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        pipeline = WanPipeline(
            tokenizer=_tokenizer(),
            text_encoder=_text_encoder(),
            transformer=WanTransformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=48,
                out_channels=48,
                text_dim=TEXT_WIDTH,
                freq_dim=32,
                ffn_dim=64,
                num_layers=2,
                rope_max_seq_len=32,
            ),
            vae=residual_autoencoder(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
            expand_timesteps=True,
        )
    return _saved(pipeline, folder, height=64, width=64)


def residual_autoencoder() -> AutoencoderKLWan:
    """As Wan 2.2's, with 8 and 16 base channels for its 160 and 256."""
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=16,
        z_dim=48,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
        latents_mean=[0.01 * i - 0.2 for i in range(48)],
        latents_std=[0.5 + 0.02 * i for i in range(48)],
    )


def plain_autoencoder() -> AutoencoderKLWan:
    """As Wan 2.1's, with `CHANNELS` latent channels."""
    vae = _autoencoder()
    assert vae.config.z_dim == CHANNELS
    return vae


def _saved(pipeline: WanPipeline, folder: Path, **sizes: int) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS | sizes))
    return folder
