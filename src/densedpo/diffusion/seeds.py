"""Randomness as a pure function of a key: the same key gives the same draw in any order, batch, process or restart."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor

Key = str | int | float | bool | None


def seed_of(*key: Key) -> int:
    """A 63-bit seed from a key such as `(seed, "noise", pair_id, step)`."""
    digest = hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: Key) -> torch.Generator:
    """A CPU generator seeded by the key; draw on the CPU and move, so that devices agree."""
    return torch.Generator().manual_seed(seed_of(*key))


def noise(shape: tuple[int, ...], *key: Key) -> Tensor:
    """Standard normal noise in float32 on the CPU, shape `shape`."""
    return torch.randn(shape, generator=generator(*key))


def uniform(low: float, high: float, *key: Key) -> float:
    """One number drawn uniformly from [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator(*key), dtype=torch.float64).item()
