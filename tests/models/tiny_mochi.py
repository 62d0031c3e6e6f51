"""A Mochi model folder with random weights: 12 channels, 12 tokens at 7 frames of 32x48."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel
from tiny_t5 import LIMIT, TEXT_WIDTH, tiny_text_encoder, tiny_tokenizer

CHANNELS = 12  # `MochiPipeline` takes no other number
DEFAULTS = {
    "steps": 4,
    "guidance": 3.0,
    "negative_prompt": "",
    "width": 48,
    "height": 32,
    "frames": 7,
    "fps": 12.0,
    "max_sequence_length": LIMIT,
}


def random_mochi(folder: Path) -> Path:
    """Write a `MochiPipeline` into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = MochiPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_text_encoder(),
            transformer=_transformer(),
            vae=_autoencoder(),
            scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
            force_zeros_for_empty_prompt=True,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _transformer() -> MochiTransformer3DModel:
    transformer = MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=8,
        in_channels=CHANNELS,
        text_embed_dim=TEXT_WIDTH,
        time_embed_dim=16,
        max_sequence_length=LIMIT,
    )
    torch.nn.init.normal_(transformer.pos_frequencies, std=0.1)  # they start at zero, where positions would not show
    return transformer


def _autoencoder() -> AutoencoderKLMochi:
    return AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        scaling_factor=0.8,
    )
