"""From recipes to videos: noise the clip twice to the same level, denoise both, for a batch of pairs at once.

Shapes: P pairs, B = 2 P members (all a, then all b), C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel, uncounted_frames
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.pairs.recipe import schedule


@dataclass(frozen=True)
class PairResult:
    """Both members of a batch of pairs: latents `[P, C, F, H, W]` as the sampler left them, clips `[P, T, H, W, 3]`.

    `distance` `[P]`: see `latent_distance`; normalised latents make it a share of their standard deviation.
    """

    latents_a: Tensor
    latents_b: Tensor
    video_a: NDArray[np.uint8]
    video_b: NDArray[np.uint8]
    distance: Tensor


def generate_pairs(
    model: VideoModel,
    recipes: Sequence[dict[str, Any]],
    clips_PCFHW: Tensor | None,
    positive: Conditioning,
    negative: Conditioning,
) -> PairResult:
    """Make the pairs of `recipes`, which share shape, sampler, steps and guidance.

    Args:
        clips_PCFHW: latents of the real clips, for guided pairs; None for independent ones.
        positive, negative: conditioning, one row a pair.

    Both seeds of a pair and both guidance branches of all pairs go through the denoiser together.
    """
    first = recipes[0]
    shape = model.latent_shape(first["frames"], first["height"], first["width"])
    seeds = [r[side] for side in ("seed_a", "seed_b") for r in recipes]
    noises = torch.stack([noise(shape, seed) for seed in seeds])
    schedules = [schedule(r, model) for r in recipes] * 2
    twice = [*range(len(recipes))] * 2
    if clips_PCFHW is None:
        start = noises
    else:
        eta_B = torch.stack([s[0] for s in schedules])
        start = model.process.add_noise(clips_PCFHW[twice], noises, eta_B)
    latents = sample(
        model,
        start,
        schedules,
        positive.take(twice),
        negative.take(twice),
        first["guidance"],
        first.get("guidance_2"),
        sampler=sampler_of(model, first["sampler"]),
        keys=[(seed,) for seed in seeds],
    )
    latents_a, latents_b = latents.cpu().chunk(2)
    video_a, video_b = np.split(model.decode(latents), 2)
    distance = latent_distance(latents_a, latents_b, uncounted_frames(model))
    return PairResult(latents_a, latents_b, video_a, video_b, distance)


def latent_distance(latents_a: Tensor, latents_b: Tensor, leading_frames: int) -> Tensor:
    """Mean absolute difference of the two members' latents `[P, C, F, H, W]`, `[P]`.

    `leading_frames`, padding and given ones, do not count.
    """
    difference = (latents_a - latents_b)[:, :, leading_frames:]
    return difference.abs().flatten(1).mean(dim=1)
