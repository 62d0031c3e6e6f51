"""The Euler sampler with classifier-free guidance, for a batch whose members may start at different noise levels.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel


def guided_prediction(
    model: VideoModel,
    noisy_BCFHW: Tensor,
    sigma_B: Tensor,
    positive: Conditioning,
    negative: Conditioning,
    guidance: float,
) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598), both branches in one forward: uncond + scale (cond - uncond)."""
    if guidance <= 1:
        return model.predict(noisy_BCFHW, sigma_B, positive)
    both = model.predict(
        torch.cat([noisy_BCFHW, noisy_BCFHW]), torch.cat([sigma_B, sigma_B]), Conditioning.cat([positive, negative])
    )
    conditional, unconditional = both.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


@torch.no_grad()
def sample(
    model: VideoModel,
    start_BCFHW: Tensor,
    schedules: Sequence[Tensor],
    positive: Conditioning,
    negative: Conditioning,
    guidance: float,
) -> Tensor:
    """Denoise each sample from the first sigma of its own schedule down to 0.

    Args:
        start_BCFHW: latents already at the noise level of their schedule's first sigma.
        schedules: one descending tensor of sigmas a sample, ending at 0; they may differ in length.
        positive, negative: conditioning, one row a sample.
        guidance: scale; at most 1 means no guidance and half the work.

    Schedules are aligned at their ends; a sample whose schedule is shorter joins when its turn comes.
    """
    latents = start_BCFHW.clone()
    longest = max(len(s) for s in schedules)
    for position in range(longest - 1):
        rows = [i for i, s in enumerate(schedules) if position >= longest - len(s)]
        now = torch.stack([schedules[i][position - longest] for i in rows])
        then = torch.stack([schedules[i][position + 1 - longest] for i in rows])
        current = latents[rows]
        prediction = guided_prediction(model, current, now, positive.take(rows), negative.take(rows), guidance)
        latents[rows] = model.process.step(current, prediction, now, then)
    return latents
