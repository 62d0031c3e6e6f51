"""What clips and autoencoders have in common across families: the range of pixels, and which sizes fit.

Shapes: B batch, C channels, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.errors import UserError


def clips_to_tensor(video: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Clips `[B, T, H, W, 3]` in 0..255 to float32 `[B, 3, T, H, W]` in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(video)).to(device, torch.float32) / 127.5 - 1
    return pixels.permute(0, 4, 1, 2, 3)


def tensor_to_clips(pixels_BCTHW: Tensor) -> NDArray[np.uint8]:
    """Decoded pixels around -1..1 to clips `[B, T, H, W, 3]` in 0..255, rounded and clamped."""
    pixels = ((pixels_BCTHW.permute(0, 2, 3, 4, 1) + 1) * 127.5).round().clamp(0, 255)
    return np.asarray(pixels.to(torch.uint8).contiguous().cpu().numpy(), dtype=np.uint8)


def latent_statistics(
    mean_C: Tensor | Sequence[float], std_C: Tensor | Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each latent channel, `[1, C, 1, 1, 1]`, as latents are normalised with them."""
    mean, std = (torch.as_tensor(values, device=device).view(1, -1, 1, 1, 1) for values in (mean_C, std_C))
    return mean, std


def check_most(**sizes: tuple[int, int]) -> None:
    """Refuse a size, for each name (wanted, most), that is beyond a network's table of positions.

    Raises:
        UserError: one is; it names the most.
    """
    for name, (wanted, most) in sizes.items():
        if wanted > most:
            raise UserError(f"{name} {wanted} does not fit this model: use at most {most}")


def latent_grid(
    frames: int, height: int, width: int, *, temporal_factor: int, spatial_factor: int, patch: int
) -> tuple[int, int, int]:
    """`(F, H', W')` of the latents of a clip, for an autoencoder whose first frame stands alone.

    Frames must be 1 + k times `temporal_factor`; height and width multiples of `spatial_factor` times `patch`.

    Raises:
        UserError: they are not; it names the nearest valid values.
    """
    if frames < 1 or (frames - 1) % temporal_factor:
        below = 1 + (max(frames, 1) - 1) // temporal_factor * temporal_factor
        above = below + temporal_factor
        raise UserError(f"{frames} frames do not fit this model (1 + {temporal_factor}k): use {below} or {above}")
    unit = spatial_factor * patch
    for name, value in (("height", height), ("width", width)):
        if value < unit or value % unit:
            below = max(unit, value // unit * unit)
            raise UserError(
                f"{name} {value} does not fit this model (a multiple of {unit}): use {below} or {below + unit}"
            )
    return 1 + (frames - 1) // temporal_factor, height // spatial_factor, width // spatial_factor
