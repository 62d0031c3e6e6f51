"""The random draws of training: noise levels and noise, each a function of (seed, the slot's key).

Shapes: B slots, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, served_sigmas
from densedpo.diffusion.schedule import shifted, unshifted
from densedpo.diffusion.seeds import generator, noise
from densedpo.errors import UserError
from densedpo.training.data import Slot
from densedpo.training.settings import TrainSettings

SMALLEST_SHARE = 1e-4  # of the distribution, that must lie where training is asked for
EDGE = 1e-6


def draw_sigma(slots: Sequence[Slot], shape: tuple[int, ...], settings: TrainSettings, model: VideoModel) -> Tensor:
    """Training noise levels `[B]`, one a pair, shared by both members (appendix E of the paper).

    Logit-normal, then shifted: sigma' = s sigma / (1 + (s - 1) sigma) with s = `timestep_shift`; of it the part between
    `sigma_low` and `sigma_high` where the trained expert of a model works. Or as the model's family draws it, for
    latents of `shape` `(C, F, H', W')`.

    Raises:
        UserError: hardly anything of the distribution lies there.
    """
    uniform_B = torch.stack([_uniform(slot, settings.seed) for slot in slots])
    if settings.timesteps == "model":
        return model.training_sigmas(uniform_B.clamp(EDGE, 1 - EDGE), shape)
    served = served_sigmas(model)
    low, high = max(settings.sigma_low, served[0]), min(settings.sigma_high, served[1])
    below, up_to = (_share_below(level, settings) for level in (low, high))
    if up_to - below < SMALLEST_SHARE:
        raise UserError(
            f"timestep_mean {settings.timestep_mean:g} and timestep_std {settings.timestep_std:g} hardly ever draw a "
            f"noise level from {low:g} to {high:g}, where training is asked for (--sigma-low, --sigma-high, the "
            "model's expert): choose others, or --timesteps model"
        )
    share_B = (below + uniform_B * (up_to - below)).clamp(EDGE, 1 - EDGE)
    plain_B = torch.sigmoid(settings.timestep_mean + settings.timestep_std * torch.special.ndtri(share_B))
    return shifted(plain_B, settings.timestep_shift).float()


def _uniform(slot: Slot, seed: int) -> Tensor:
    drawn = torch.rand((), generator=generator(seed, "sigma", *slot.key), dtype=torch.float64)
    if slot.stratum is None:
        return drawn
    part, parts = slot.stratum
    return (part + drawn) / parts


def _share_below(sigma: float, settings: TrainSettings) -> float:
    """The distribution function of the shifted logit-normal."""
    if sigma <= 0 or sigma >= 1:
        return float(sigma >= 1)
    plain = unshifted(sigma, settings.timestep_shift)
    normal = (torch.logit(torch.tensor(plain, dtype=torch.float64)) - settings.timestep_mean) / settings.timestep_std
    return float(torch.special.ndtr(normal))


def draw_noise(slots: Sequence[Slot], shape: tuple[int, ...], settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Noise for a and for b, each `[B, C, F, H, W]`: the same for both members unless `shared_noise` is off."""
    for_a = torch.stack([noise(shape, settings.seed, "noise", *slot.key, "a") for slot in slots])
    if settings.shared_noise:
        return for_a, for_a
    return for_a, torch.stack([noise(shape, settings.seed, "noise", *slot.key, "b") for slot in slots])


def sigma_weights(sigma_B: Tensor, settings: TrainSettings) -> Tensor:
    """How much each slot counts by its noise level, `[B]`: in the loss and in what it is divided by."""
    if settings.sigma_weight == "none":
        return torch.ones_like(sigma_B)
    return sigma_B if settings.sigma_weight == "sigma" else 1 - sigma_B
