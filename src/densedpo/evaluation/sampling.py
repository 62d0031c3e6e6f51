"""The videos of an evaluation, a batch at a time.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, encode_negative
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.evaluation.shots import Shot
from densedpo.store.project import ProjectSettings

__all__ = ["Shot", "Studio"]


@dataclass(frozen=True)
class Studio:
    """How all contestants make their videos: one sampler and its schedule `[steps + 1]`, one guidance and one seed."""

    model: VideoModel
    size: ProjectSettings
    sigmas: Tensor
    guidance: float
    guidance_2: float | None  # of the second expert, for models that have one
    seed: int
    sampler: str = "euler"

    def videos(self, shots: Sequence[Shot]) -> NDArray[np.uint8]:
        """The videos of a batch, `[B, T, H, W, 3]` in 0..255."""
        return self.model.decode(self.latents(shots))

    def latents(self, shots: Sequence[Shot]) -> Tensor:
        """The same before decoding, `[B, C, F, H', W']`.

        The noise of a shot depends on the seed, its prompt and its number alone, so contestants start from the same.
        """
        model, size = self.model, self.size
        shape = model.latent_shape(size.frames, size.height, size.width)
        keys = [(self.seed, "evaluation", shot.prompt, shot.seed) for shot in shots]
        start_BCFHW = torch.stack([noise(shape, *key) for key in keys])
        prompts = list(dict.fromkeys(shot.prompt for shot in shots))
        positive = model.encode_text(prompts).take([prompts.index(shot.prompt) for shot in shots])
        negative = encode_negative(model, [model.defaults.negative_prompt]).take([0] * len(shots))
        return sample(
            model,
            start_BCFHW,
            [self.sigmas] * len(shots),
            positive,
            negative,
            self.guidance,
            self.guidance_2,
            sampler=sampler_of(model, self.sampler),
            keys=keys,
        )
