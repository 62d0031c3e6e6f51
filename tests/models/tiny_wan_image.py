"""Wan folders that animate a first frame, tiny and with random weights: the three builds there are."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline, WanTransformer3DModel
from tiny_wan22 import residual_autoencoder
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from tiny_models import CHANNELS, DEFAULTS, TEXT_WIDTH, _autoencoder, _text_encoder, _tokenizer

SHIFT, BOUNDARY, CLIP_WIDTH, TEMPORAL_FACTOR = 3.0, 0.9, 16, 4
BUILDS = ("2.1", "a14b", "ti2v")


def random_wan_image(folder: Path, build: str) -> Path:
    """Write a `WanImageToVideoPipeline` of this build into `folder`; the same weights every time."""
    shared = {
        "tokenizer": _tokenizer(),
        "scheduler": UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=SHIFT),
    }
    sizes: dict[str, int] = {"frames": 9}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shared["text_encoder"] = _text_encoder()
        if build == "2.1":
            parts: dict[str, Any] = {
                "vae": _autoencoder(),
                "transformer": _transformer(2 * CHANNELS + TEMPORAL_FACTOR, CHANNELS, clip=True),
                "image_encoder": _clip(),
                "image_processor": CLIPImageProcessor(
                    size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
                ),
            }
            sizes["max_sequence_length"] = 512
        elif build == "a14b":
            networks = [_transformer(2 * CHANNELS + TEMPORAL_FACTOR, CHANNELS) for _ in range(2)]
            parts = {
                "vae": _autoencoder(),
                "transformer": networks[0],
                "transformer_2": networks[1],
                "boundary_ratio": BOUNDARY,
            }
        else:
            parts = {"vae": residual_autoencoder(), "transformer": _transformer(48, 48), "expand_timesteps": True}
            sizes |= {"height": 64, "width": 64}
    WanImageToVideoPipeline(**shared, **parts).save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS | sizes))
    return folder


def _transformer(in_channels: int, out_channels: int, clip: bool = False) -> WanTransformer3DModel:
    image = {"image_dim": CLIP_WIDTH, "added_kv_proj_dim": 24} if clip else {}
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=out_channels,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_max_seq_len=32,
        **image,
    )


def _clip() -> CLIPVisionModel:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=CLIP_WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            projection_dim=CLIP_WIDTH,
        )
    )
