"""Prediction errors of policy and reference on both members of a batch of pairs.

Shapes: B pairs, C channels, F latent frames, H height, W width; "2B" is all a, then all b.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel
from densedpo.diffusion.seeds import generator, noise
from densedpo.losses.common import PairErrors
from densedpo.models.lora import adapter_off
from densedpo.training.data import Batch
from densedpo.training.settings import TrainSettings


def draw_sigma(keys: Sequence[str], step: int, settings: TrainSettings) -> Tensor:
    """Training noise levels `[B]`, one a pair, shared by both members (appendix E of the paper).

    Logit-normal, then shifted: sigma' = s sigma / (1 + (s - 1) sigma) with s = `timestep_shift`. A function of
    (seed, step, key).
    """
    normal = torch.stack([torch.randn((), generator=generator(settings.seed, "sigma", step, key)) for key in keys])
    sigma = torch.sigmoid(settings.timestep_mean + settings.timestep_std * normal)
    return settings.timestep_shift * sigma / (1 + (settings.timestep_shift - 1) * sigma)


def draw_noise(
    keys: Sequence[str], shape: tuple[int, ...], step: int, settings: TrainSettings
) -> tuple[Tensor, Tensor]:
    """Noise for a and for b, each `[B, C, F, H, W]`: the same for both members unless `shared_noise` is off."""
    for_a = torch.stack([noise(shape, settings.seed, "noise", step, key, "a") for key in keys])
    if settings.shared_noise:
        return for_a, for_a
    return for_a, torch.stack([noise(shape, settings.seed, "noise", step, key, "b") for key in keys])


def frame_errors(prediction_BCFHW: Tensor, target_BCFHW: Tensor) -> Tensor:
    """Mean squared error over channels, height and width: `[B, F]`."""
    return (prediction_BCFHW - target_BCFHW).square().mean(dim=(1, 3, 4))


def pair_errors(
    model: VideoModel, batch: Batch, conditioning: Conditioning, sigma_B: Tensor, noises: tuple[Tensor, Tensor]
) -> PairErrors:
    """One concatenated forward with the adapter for a and b, one without it and without gradient for the reference."""
    clean = torch.cat([batch.a_BCFHW, batch.b_BCFHW])
    eps = torch.cat(noises)
    sigma = torch.cat([sigma_B, sigma_B])
    both = conditioning.take([*range(len(batch.keys))] * 2)
    noisy = model.process.add_noise(clean, eps, sigma)
    target = model.process.target(clean, eps, sigma)
    with torch.no_grad(), adapter_off(model.denoiser):
        reference_a, reference_b = frame_errors(model.predict(noisy, sigma, both), target).chunk(2)
    policy_a, policy_b = frame_errors(model.predict(noisy, sigma, both), target).chunk(2)
    return PairErrors(policy_a, policy_b, reference_a, reference_b)
