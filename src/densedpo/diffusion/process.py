"""The noising process a model was trained with: how clips are noised, what the network predicts, what eta means.

Shapes: B batch, C channels, F latent frames, H height, W width. `sigma_B` is the noise level in [0, 1].
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


def per_sample(values_B: Tensor, like: Tensor) -> Tensor:
    """Reshape `[B]` so that it multiplies a `[B, ...]` tensor sample by sample."""
    return values_B.view(-1, *[1] * (like.ndim - 1))


class Process(Protocol):
    """A noising process. Everything else (losses, sampler, pairs) sees models only through it."""

    def add_noise(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """The noisy latents at level sigma."""
        ...

    def nearest(self, sigma_B: Tensor) -> Tensor:
        """The nearest noise levels that the process has; a discrete process has only so many."""
        ...

    def target(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """What the network should predict there."""
        ...

    def step(self, noisy_BCFHW: Tensor, prediction_BCFHW: Tensor, sigma_B: Tensor, next_sigma_B: Tensor) -> Tensor:
        """One deterministic first-order step from sigma to the lower next_sigma."""
        ...


class RectifiedFlow:
    """Rectified flow (arXiv 2209.03003): x_t = (1 - t) x + t eps, the network predicts v = eps - x, t = sigma.

    Wan, LTX-Video and HunyuanVideo are of this kind.
    """

    def add_noise(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """x_t = (1 - t) x + t eps."""
        t = per_sample(sigma_B, clean_BCFHW)
        return (1 - t) * clean_BCFHW + t * noise_BCFHW

    def nearest(self, sigma_B: Tensor) -> Tensor:
        """Every level in [0, 1] is one of rectified flow's."""
        return sigma_B

    def target(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """v = eps - x, at every t."""
        return noise_BCFHW - clean_BCFHW

    def step(self, noisy_BCFHW: Tensor, prediction_BCFHW: Tensor, sigma_B: Tensor, next_sigma_B: Tensor) -> Tensor:
        """Euler: x_t' = x_t + (t' - t) v. (The paper's algorithms print the opposite sign.)"""
        return noisy_BCFHW + per_sample(next_sigma_B - sigma_B, noisy_BCFHW) * prediction_BCFHW
