"""The variance-preserving process on a grid of discrete timesteps, with v-prediction.

Shapes: B batch, C channels, F latent frames, H height, W width, N timesteps of training (ascending).
"""

from __future__ import annotations

import torch
from torch import Tensor

from densedpo.diffusion.process import per_sample


class VariancePreserving:
    """x_t = a x + s eps with a = sqrt(abar_t), s = sqrt(1 - abar_t); the network predicts v = a eps - s x.

    Diffusion as in DDPM (arXiv 2006.11239), v as in progressive distillation (arXiv 2202.00512, appendix D).
    CogVideoX is of this kind.

    sigma is defined by signal-to-noise, sigma / (1 - sigma) = s / a, so that it means here what it means in a rectified
    flow: 1 is pure noise, 1/2 is as much noise as clip. The network knows the N levels it was trained on and no others.
    Any sigma above 0 therefore counts as the nearest of them, in every method alike: a clip never holds another amount
    of noise than its network is told. 0 is the clip itself.
    """

    def __init__(self, alphas_cumprod_N: Tensor) -> None:
        """From abar at each timestep, falling; 0 at the last one if the schedule ends in pure noise."""
        abar_N = alphas_cumprod_N.detach().cpu().double()
        signal_N, noise_N = abar_N.sqrt(), (1 - abar_N).sqrt()
        levels_N = noise_N / (signal_N + noise_N)
        self.levels_N = levels_N.float()
        self._signal_N, self._noise_N = signal_N, noise_N
        self._between = ((levels_N[1:] + levels_N[:-1]) / 2).float()

    def timestep(self, sigma_B: Tensor) -> Tensor:
        """The discrete timestep whose level is nearest to sigma, int64; of a level itself, exactly its own."""
        return torch.bucketize(sigma_B.contiguous(), self._between.to(sigma_B))

    def nearest(self, sigma_B: Tensor) -> Tensor:
        """The level that sigma counts as; 0 stays 0."""
        level_B = self.levels_N.to(sigma_B)[self.timestep(sigma_B)]
        return torch.where(sigma_B == 0, torch.zeros_like(level_B), level_B)

    def add_noise(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """x_t = a x + s eps."""
        a, s = self._scales(sigma_B, clean_BCFHW)
        return a * clean_BCFHW + s * noise_BCFHW

    def target(self, clean_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """v = a eps - s x."""
        a, s = self._scales(sigma_B, clean_BCFHW)
        return a * noise_BCFHW - s * clean_BCFHW

    def step(self, noisy_BCFHW: Tensor, prediction_BCFHW: Tensor, sigma_B: Tensor, next_sigma_B: Tensor) -> Tensor:
        """DDIM (arXiv 2010.02502, eq. 12 without noise): x = a x_t - s v, eps = s x_t + a v, x_t' = a' x + s' eps."""
        a, s = self._scales(sigma_B, noisy_BCFHW)
        next_a, next_s = self._scales(next_sigma_B, noisy_BCFHW)
        clean_BCFHW = a * noisy_BCFHW - s * prediction_BCFHW
        noise_BCFHW = s * noisy_BCFHW + a * prediction_BCFHW
        return next_a * clean_BCFHW + next_s * noise_BCFHW

    def clean(self, noisy_BCFHW: Tensor, prediction_BCFHW: Tensor, sigma_B: Tensor) -> Tensor:
        """The clip that a prediction amounts to: x = a x_t - s v."""
        a, s = self._scales(sigma_B, noisy_BCFHW)
        return a * noisy_BCFHW - s * prediction_BCFHW

    def scales(self, sigma_B: Tensor) -> tuple[Tensor, Tensor]:
        """a and s, `[B]` in float64."""
        timestep_B, clean_B = self.timestep(sigma_B), sigma_B == 0
        a_B = self._signal_N.to(sigma_B.device)[timestep_B].masked_fill(clean_B, 1)
        s_B = self._noise_N.to(sigma_B.device)[timestep_B].masked_fill(clean_B, 0)
        return a_B, s_B

    def _scales(self, sigma_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """a and s in sigma's precision, shaped to multiply `like` sample by sample."""
        a_B, s_B = self.scales(sigma_B)
        return per_sample(a_B.to(sigma_B.dtype), like), per_sample(s_B.to(sigma_B.dtype), like)
