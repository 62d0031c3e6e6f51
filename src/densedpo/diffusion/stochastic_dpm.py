"""SDE-DPM-Solver++(2M) for a variance-preserving process, as CogVideoX's makers sample with it.

Shapes: B rows in a step, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from densedpo.diffusion.process import per_sample
from densedpo.diffusion.seeds import Key, noise
from densedpo.diffusion.variance_preserving import VariancePreserving

Schedule = Callable[[int, Sequence[int] | None], Tensor]


class StochasticDPM:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) in its SDE form, as `CogVideoXDPMScheduler` computes it.

    That scheduler steps by a fixed number of timesteps, so it cannot start at a level between its own; hence this one.
    """

    multistep = True

    def __init__(self, process: VariancePreserving, schedule: Schedule) -> None:
        self._process, self._schedule = process, schedule

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The model's own schedule."""
        return self._schedule(steps, shape)

    def begin(self, schedules: Sequence[Tensor], keys: Sequence[Sequence[Key]]) -> StochasticDPMSolver:
        """A solver that draws each row's noise by that row's key and the number of the step."""
        return StochasticDPMSolver(self._process, keys)


class StochasticDPMSolver:
    """See `StochasticDPM`."""

    def __init__(self, process: VariancePreserving, keys: Sequence[Sequence[Key]]) -> None:
        self._process, self._keys = process, keys
        self._done = [0] * len(keys)
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # of each row: the last clean estimate, and lambda there

    def told(self, rows: Sequence[int], sigma_B: Tensor) -> Tensor:
        """The very level."""
        return sigma_B

    def step(
        self,
        rows: Sequence[int],
        noisy_BCFHW: Tensor,
        prediction_BCFHW: Tensor,
        sigma_B: Tensor,
        next_sigma_B: Tensor,
    ) -> Tensor:
        """x' = (s' / s) e^-h x + a' (1 - e^-2h) D + s' sqrt(1 - e^-2h) z, h = lambda' - lambda, lambda = log(a / s).

        D = x0 + (x0 - x0_before) / 2r with r = h_before / h; in the first and the last step D = x0.
        """
        (a, s), (next_a, next_s) = self._process.scales(sigma_B), self._process.scales(next_sigma_B)
        lambda_B, next_lambda_B = (a / s).log(), (next_a / next_s).log()
        h_B = next_lambda_B - lambda_B
        clean_BCFHW = self._process.clean(noisy_BCFHW, prediction_BCFHW, sigma_B)
        towards_BCFHW, fresh_BCFHW = clean_BCFHW.clone(), torch.zeros_like(noisy_BCFHW)
        for place, row in enumerate(rows):
            clean_CFHW = clean_BCFHW[place]
            if next_sigma_B[place] > 0:
                if row in self._before:
                    before_CFHW, lambda_before = self._before[row]
                    r = (lambda_B[place] - lambda_before) / h_B[place]
                    towards_BCFHW[place] += (clean_CFHW - before_CFHW) / (2 * r).to(clean_CFHW)
                key = (*self._keys[row], "step", self._done[row])
                fresh_BCFHW[place] = noise(tuple(clean_CFHW.shape), *key)
            self._before[row] = clean_CFHW, lambda_B[place]
            self._done[row] += 1
        kept_B = (next_s / s) * torch.exp(-h_B)
        moved_B = -next_a * torch.expm1(-2 * h_B)
        added_B = next_s * torch.sqrt(-torch.expm1(-2 * h_B))
        kept, moved, added = (
            per_sample(share_B.to(noisy_BCFHW), noisy_BCFHW) for share_B in (kept_B, moved_B, added_B)
        )
        return kept * noisy_BCFHW + moved * towards_BCFHW + added * fresh_BCFHW
