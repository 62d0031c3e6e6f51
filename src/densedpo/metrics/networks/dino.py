"""DINO's published file (dino_vitbase16_pretrain.pth) as a transformers ViT: the same numbers under other names."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

RENAMED = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
)
HEAD_SIZE = 64  # of every DINO ViT


def configuration(state: dict[str, Tensor]) -> dict[str, Any]:
    """What ViTConfig has to be told of a network with these weights."""
    wide, _, patch, _ = state["patch_embed.proj.weight"].shape
    positions = state["pos_embed"].shape[1] - 1
    return {
        "hidden_size": wide,
        "num_hidden_layers": 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        "num_attention_heads": wide // HEAD_SIZE,
        "intermediate_size": state["blocks.0.mlp.fc1.weight"].shape[0],
        "patch_size": patch,
        "image_size": patch * round(positions**0.5),
        "layer_norm_eps": 1e-6,
    }


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a transformers `ViTModel` without pooler. Raises KeyError for a name DINO's file does not have."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed |= _block(name, tensor) if name.startswith("blocks.") else {_outside(name): tensor}
    return renamed


def _outside(name: str) -> str:
    for pattern, new in RENAMED:
        found = re.sub(pattern, new, name)
        if found != name:
            return found
    raise KeyError(name)


def _block(name: str, tensor: Tensor) -> dict[str, Tensor]:
    _, number, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    start = f"layers.{number}."
    if part == "attn.qkv":  # one matrix for all three, stacked
        thirds = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{start}attention.{letter}_proj.{kind}": third for letter, third in thirds}
    parts = {
        "attn.proj": "attention.o_proj",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    return {f"{start}{parts[part]}.{kind}": tensor}
