"""Prediction errors of policy and reference on a batch.

Shapes: B slots, N videos (2B: all a, then all b; or B, for single videos), C channels, F latent frames, H height,
W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel, uncounted_frames
from densedpo.training.data import Batch
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True)
class Inputs:
    """What the denoiser is given for a batch, and what it should say."""

    noisy_NCFHW: Tensor
    target_NCFHW: Tensor
    sigma_N: Tensor
    conditioning: Conditioning
    counted_N1FHW: Tensor | None  # 0 at positions whose error does not count; None: all do

    def take(self, rows: Sequence[int]) -> Inputs:
        """Some of the videos."""
        rows, counted = list(rows), self.counted_N1FHW
        return Inputs(
            self.noisy_NCFHW[rows],
            self.target_NCFHW[rows],
            self.sigma_N[rows],
            self.conditioning.take(rows),
            None if counted is None else counted[rows],
        )


def prepare(
    model: VideoModel,
    batch: Batch,
    conditioning: Conditioning,
    sigma_B: Tensor,
    noises: tuple[Tensor, Tensor],
    settings: TrainSettings,
) -> Inputs:
    """Noise both members; `conditioning` has a row a slot."""
    counted = None
    if batch.b_BCFHW is None:
        clean, eps, sigma = batch.a_BCFHW, noises[0], sigma_B
    else:
        clean, eps, sigma = torch.cat([batch.a_BCFHW, batch.b_BCFHW]), torch.cat(noises), torch.cat([sigma_B, sigma_B])
        conditioning = conditioning.take([*range(len(batch.slots))] * 2)
        if settings.similar_below > 0:
            apart = (batch.a_BCFHW - batch.b_BCFHW).abs().mean(dim=1, keepdim=True)
            counted = (apart > settings.similar_below).to(clean.dtype).repeat(2, 1, 1, 1, 1)
    noisy, target = model.process.add_noise(clean, eps, sigma), model.process.target(clean, eps, sigma)
    return Inputs(noisy, target, sigma, conditioning, counted)


def residual(model: VideoModel, inputs: Inputs, settings: TrainSettings) -> Tensor:
    """Prediction minus target, `[N, C, F, H, W]`, without leading padding and given frames; 0 where nothing counts."""
    with _autocast(model, settings):
        prediction = model.predict(inputs.noisy_NCFHW, inputs.sigma_N, inputs.conditioning)
    wrong = prediction.float() - inputs.target_NCFHW
    if inputs.counted_N1FHW is not None:
        wrong = wrong * inputs.counted_N1FHW
    return wrong[:, :, uncounted_frames(model) :]


def _autocast(model: VideoModel, settings: TrainSettings) -> AbstractContextManager[object]:
    return nullcontext() if settings.autocast == "none" else torch.autocast(model.device.type, torch.bfloat16)


def frame_errors(residual_NCFHW: Tensor) -> Tensor:
    """Mean squared error over channels, height and width of every latent frame, `[N, F]`."""
    return residual_NCFHW.square().mean(dim=(1, 3, 4))


def products(residual_NCFHW: Tensor) -> Tensor:
    """Mean product of the errors on a and on b, `[B, F]`, without gradient (for the safeguard)."""
    a, b = residual_NCFHW.detach().chunk(2)
    return (a * b).mean(dim=(1, 3, 4))
