"""A SkyReels V2 folder, tiny and with random weights."""

import json
from pathlib import Path

import torch
from diffusers import SkyReelsV2Pipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler

from tiny_models import CHANNELS, DEFAULTS, TEXT_WIDTH, _autoencoder, _text_encoder, _tokenizer

SHIFT = 8.0


def random_skyreels_v2(folder: Path) -> Path:
    """Write a `SkyReelsV2Pipeline` into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        pipeline = SkyReelsV2Pipeline(
            tokenizer=_tokenizer(),
            text_encoder=_text_encoder(),
            transformer=SkyReelsV2Transformer3DModel(
                num_attention_heads=2,
                attention_head_dim=12,
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                text_dim=TEXT_WIDTH,
                freq_dim=32,
                ffn_dim=64,
                num_layers=2,
                rope_max_seq_len=32,
            ),
            vae=_autoencoder(),
            scheduler=UniPCMultistepScheduler(
                use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=SHIFT
            ),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS | {"frames": 9}))
    return folder
