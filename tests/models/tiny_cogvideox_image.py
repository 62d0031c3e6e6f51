"""CogVideoX checkpoints that animate a first frame, tiny and with random weights, one of each kind."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXImageToVideoPipeline
from tiny_cogvideox import DEFAULTS, _autoencoder, _tokenizer, _transformer, published_scheduler
from tiny_cogvideox import KINDS as PLAIN
from transformers import T5Config, T5EncoderModel

# 5B I2V has learned positions; 1.5 is told `ofs`, and its autoencoder's scale is turned round for images.
KINDS: dict[str, dict[str, Any]] = {
    "5b": PLAIN["5b"]["transformer"] | {"use_learned_positional_embeddings": True},
    "1.5": PLAIN["1.5"]["transformer"] | {"ofs_embed_dim": 16},
}


def random_cogvideox_image(folder: Path, kind: str) -> Path:
    """Write a `CogVideoXImageToVideoPipeline` of this kind into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vae = _autoencoder(0.7)
        vae.register_to_config(invert_scale_latents=kind == "1.5")
        pipeline = CogVideoXImageToVideoPipeline(
            tokenizer=_tokenizer(),
            text_encoder=T5EncoderModel(
                T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2, vocab_size=64)
            ),
            transformer=_transformer(**KINDS[kind], images=True),
            vae=vae,
            scheduler=published_scheduler(kind),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder
