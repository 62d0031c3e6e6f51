"""LTX-Video model folders with random weights: 8 channels, 12 tokens at 9 frames of 64x96."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from tiny_t5 import LIMIT, TEXT_WIDTH, tiny_text_encoder, tiny_tokenizer

CHANNELS = 8
DEFAULTS = {
    "steps": 4,
    "guidance": 3.0,
    "negative_prompt": "worst quality",
    "width": 96,
    "height": 64,
    "frames": 9,
    "fps": 12.0,
    "max_sequence_length": LIMIT,
    "decode_timestep": 0.1,
    "decode_noise_scale": 0.3,
}


def random_ltx(folder: Path, *, decoder_denoises: bool = False) -> Path:
    """Write an `LTXPipeline` into `folder`; the same weights every time.

    `decoder_denoises`: with the timestep and the noise of the decoders since 0.9.1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = LTXPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_text_encoder(),
            transformer=_transformer(),
            vae=_autoencoder(decoder_denoises),
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_shift=0.95,
                max_shift=2.05,
                base_image_seq_len=1024,
                max_image_seq_len=4096,
                shift_terminal=0.1,
            ),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def random_ltx_condition(folder: Path) -> Path:
    """Write an `LTXConditionPipeline` into `folder`, its autoencoder built as those since 0.9.5."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pipeline = LTXConditionPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_text_encoder(),
            transformer=_transformer(),
            vae=_autoencoder_095(),
            scheduler=FlowMatchEulerDiscreteScheduler(),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _autoencoder_095() -> AutoencoderKLLTXVideo:
    vae = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8, 8),
        down_block_types=("LTXVideo095DownBlock3D",) * 4,
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True,) * 4,
        decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        upsample_residual=(True,) * 3,
        upsample_factor=(2,) * 3,
        timestep_conditioning=True,
        scaling_factor=0.8,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.linspace(-1, 1, CHANNELS))
    vae.latents_std.copy_(torch.linspace(0.5, 2, CHANNELS))
    return vae


def _transformer() -> LTXVideoTransformer3DModel:
    return LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=TEXT_WIDTH,
    )


def _autoencoder(decoder_denoises: bool) -> AutoencoderKLLTXVideo:
    vae = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        decoder_inject_noise=(decoder_denoises,) * 5,
        timestep_conditioning=decoder_denoises,
        scaling_factor=0.8,
    )
    for name, parameter in vae.named_parameters():
        if "per_channel_scale" in name:  # they start at zero, where the decoder's noise would not show
            torch.nn.init.normal_(parameter, std=0.3)
    vae.latents_mean.copy_(torch.linspace(-1, 1, CHANNELS))
    vae.latents_std.copy_(torch.linspace(0.5, 2, CHANNELS))
    return vae
