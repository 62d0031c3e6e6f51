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

from densedpo.diffusion.protocol import VideoModel
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.evaluation.shots import Shot
from densedpo.store.project import ProjectSettings

__all__ = ["Shot", "Studio"]


@dataclass(frozen=True)
class Studio:
    """How all contestants make their videos, with one schedule `[steps + 1]`, the same guidance and one seed."""

    model: VideoModel
    size: ProjectSettings
    sigmas: Tensor
    guidance: float
    guidance_2: float | None  # of the second expert, for models that have one
    seed: int

    def videos(self, shots: Sequence[Shot]) -> NDArray[np.uint8]:
        """The videos of a batch, `[B, T, H, W, 3]` in 0..255.

        The noise of a shot depends on the seed, its prompt and its number alone, so contestants start from the same.
        """
        model, size = self.model, self.size
        shape = model.latent_shape(size.frames, size.height, size.width)
        start_BCFHW = torch.stack([noise(shape, self.seed, "evaluation", shot.prompt, shot.seed) for shot in shots])
        prompts = list(dict.fromkeys(shot.prompt for shot in shots))
        positive = model.encode_text(prompts).take([prompts.index(shot.prompt) for shot in shots])
        negative = model.encode_text([model.defaults.negative_prompt]).take([0] * len(shots))
        schedules = [self.sigmas] * len(shots)
        return model.decode(sample(model, start_BCFHW, schedules, positive, negative, self.guidance, self.guidance_2))
