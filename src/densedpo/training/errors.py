"""Prediction errors of policy and reference on both members of a batch of pairs.

Shapes: B pairs, C channels, F latent frames, H height, W width; "2B" is all a, then all b.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel, served_sigmas
from densedpo.diffusion.seeds import generator, noise
from densedpo.errors import UserError
from densedpo.losses.common import PairErrors
from densedpo.models.lora import adapter_off
from densedpo.training.data import Batch
from densedpo.training.settings import TrainSettings

MOST_DRAWS = 10_000  # of one noise level


def draw_sigma(
    keys: Sequence[str], shape: tuple[int, ...], step: int, settings: TrainSettings, model: VideoModel
) -> Tensor:
    """Training noise levels `[B]`, one a pair, shared by both members (appendix E of the paper).

    Logit-normal, then shifted: sigma' = s sigma / (1 + (s - 1) sigma) with s = `timestep_shift`; drawn again until it
    lies where the trained expert of a model works. Or as the model's family draws it, for latents of `shape`
    `(C, F, H', W')`. A function of (seed, step, key).

    Raises:
        UserError: these settings hardly ever draw a level at which the trained expert works.
    """
    draws = [generator(settings.seed, "sigma", step, key) for key in keys]
    if settings.timesteps == "model":
        uniform_B = torch.stack([torch.rand((), generator=each) for each in draws])
        return model.training_sigmas(uniform_B.clamp(1e-6, 1 - 1e-6), shape)
    return torch.stack([_logit_normal(each, settings, served_sigmas(model)) for each in draws])


def _logit_normal(draws: torch.Generator, settings: TrainSettings, served: tuple[float, float]) -> Tensor:
    for _ in range(MOST_DRAWS):
        plain = torch.sigmoid(settings.timestep_mean + settings.timestep_std * torch.randn((), generator=draws))
        sigma = settings.timestep_shift * plain / (1 + (settings.timestep_shift - 1) * plain)
        if served[0] <= sigma < served[1]:
            return sigma
    raise UserError(
        f"timestep_mean {settings.timestep_mean:g} and timestep_std {settings.timestep_std:g} hardly ever draw a noise "
        f"level from {served[0]:g} to {served[1]:g}, where the trained expert works: choose others, or "
        "--timesteps model"
    )


def draw_noise(
    keys: Sequence[str], shape: tuple[int, ...], step: int, settings: TrainSettings
) -> tuple[Tensor, Tensor]:
    """Noise for a and for b, each `[B, C, F, H, W]`: the same for both members unless `shared_noise` is off."""
    for_a = torch.stack([noise(shape, settings.seed, "noise", step, key, "a") for key in keys])
    if settings.shared_noise:
        return for_a, for_a
    return for_a, torch.stack([noise(shape, settings.seed, "noise", step, key, "b") for key in keys])


def frame_errors(prediction_BCFHW: Tensor, target_BCFHW: Tensor, padding_frames: int) -> Tensor:
    """Mean squared error over channels, height and width of every latent frame that is not padding: `[B, F]`."""
    return (prediction_BCFHW - target_BCFHW)[:, :, padding_frames:].square().mean(dim=(1, 3, 4))


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
        reference = frame_errors(model.predict(noisy, sigma, both), target, model.padding_frames)
    policy = frame_errors(model.predict(noisy, sigma, both), target, model.padding_frames)
    (policy_a, policy_b), (reference_a, reference_b) = policy.chunk(2), reference.chunk(2)
    return PairErrors(policy_a, policy_b, reference_a, reference_b)
