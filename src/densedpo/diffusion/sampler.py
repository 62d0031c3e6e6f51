"""Sampling with classifier-free guidance, for a batch whose members may start at different noise levels.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.process import per_sample
from densedpo.diffusion.protocol import Conditioning, VideoModel, with_given_frames
from densedpo.diffusion.samplers import Euler, Sampler
from densedpo.diffusion.seeds import Key
from densedpo.errors import UserError


def guided_prediction(
    model: VideoModel,
    noisy_BCFHW: Tensor,
    sigma_B: Tensor,
    positive: Conditioning,
    negative: Conditioning,
    guidance: float,
    guidance_2: float | None = None,
) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598), both branches in one forward: uncond + scale (cond - uncond).

    `guidance_2`, if given, is the scale below the noise level at which a model's experts change over; as in diffusers'
    pipelines `guidance` alone decides whether there is guidance at all.

    Raises:
        UserError: there is a `guidance_2`, but the model has no second expert.
    """
    scale = guidance if guidance_2 is None else _scale_by_expert(model, noisy_BCFHW, sigma_B, guidance, guidance_2)
    if guidance <= 1:
        return model.predict(noisy_BCFHW, sigma_B, positive)
    both = model.predict(
        torch.cat([noisy_BCFHW, noisy_BCFHW]), torch.cat([sigma_B, sigma_B]), Conditioning.cat([positive, negative])
    )
    conditional, unconditional = both.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _scale_by_expert(
    model: VideoModel, noisy_BCFHW: Tensor, sigma_B: Tensor, guidance: float, guidance_2: float
) -> Tensor:
    """The guidance scale of each row, shaped to multiply predictions."""
    boundary = model.defaults.boundary
    if boundary is None:
        raise UserError(f"guidance_2 {guidance_2:g} is for models with two experts: leave it out for this one")
    return per_sample(torch.where(sigma_B < boundary, guidance_2, guidance).to(noisy_BCFHW), noisy_BCFHW)


@torch.no_grad()
def sample(
    model: VideoModel,
    start_BCFHW: Tensor,
    schedules: Sequence[Tensor],
    positive: Conditioning,
    negative: Conditioning,
    guidance: float,
    guidance_2: float | None = None,
    *,
    sampler: Sampler | None = None,
    keys: Sequence[Sequence[Key]] | None = None,
) -> Tensor:
    """Denoise each sample from the first sigma of its own schedule down to 0.

    Args:
        start_BCFHW: latents already at the noise level of their schedule's first sigma.
        schedules: one descending tensor of sigmas a sample, ending at 0; they may differ in length.
        positive, negative: conditioning, one row a sample.
        guidance: scale; at most 1 means no guidance and half the work.
        guidance_2: scale of the low-noise expert of a model with two; `guidance` if not given.
        sampler: `sampler_of(model, name)`; Euler if not given.
        keys: what each sample's noise is keyed by, if the sampler draws any; the sample's number if not given.

    Schedules are aligned at their ends; a sample whose schedule is shorter joins when its turn comes.

    Raises:
        UserError: too little memory; a `guidance_2` for a model with one expert.
    """
    latents = with_given_frames(model, start_BCFHW, positive).clone()
    solver = (sampler or Euler(model)).begin(schedules, [(i,) for i in range(len(latents))] if keys is None else keys)
    longest = max(len(s) for s in schedules)
    for position in range(longest - 1):
        rows = [i for i, s in enumerate(schedules) if position >= longest - len(s)]
        now = torch.stack([schedules[i][position - longest] for i in rows])
        then = torch.stack([schedules[i][position + 1 - longest] for i in rows])
        current = latents[rows]
        with memory_is_clear(f"sampling {len(rows)} clips at once"):
            told = solver.told(rows, now)
            prediction = guided_prediction(
                model, current, told, positive.take(rows), negative.take(rows), guidance, guidance_2
            )
            latents[rows] = solver.step(rows, current, prediction, now, then)
    return latents
