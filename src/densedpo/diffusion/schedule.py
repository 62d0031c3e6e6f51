"""Which noise levels the sampler visits, and where a guided pair starts.

A schedule is a float32 tensor of sigmas, descending, ending at 0: `steps + 1` values for `steps` model calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from densedpo.errors import UserError


def shifted(sigma: Tensor, shift: float) -> Tensor:
    """s sigma / (1 + (s - 1) sigma): noise levels moved towards 1, as a schedule of shift s moves its own."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def unshifted(sigma: float, shift: float) -> float:
    """The level that `shifted` moves to sigma."""
    return sigma / (shift - (shift - 1) * sigma)


def starting_at(sigmas_S: Tensor, eta: float, multistep: bool = False) -> Tensor:
    """Insert eta itself as the first sigma, then the schedule's own sigmas below it.

    The clip is noised to exactly eta, so the first step must start exactly there, wherever the schedule's grid lies.
    A multistep solver draws a line through its last two predictions, and two that are almost at one level would point
    it anywhere: for those the first level below eta is left out if the step to it were less than half the one after it.

    Raises:
        UserError: eta is not between 0 and the schedule's highest sigma.
    """
    if not 0 < eta <= sigmas_S[0].item():
        raise UserError(
            f"eta {eta:g} is not a noise level of this model: choose one above 0 and at most {sigmas_S[0].item():g}"
        )
    first = torch.tensor([eta], dtype=sigmas_S.dtype)
    below = sigmas_S[sigmas_S < first]
    if multistep and len(below) > 1 and first - below[0] < (below[0] - below[1]) / 2:
        below = below[1:]
    return torch.cat([first, below])


def eta_of_step_fraction(sigmas_S: Tensor, fraction: float) -> float:
    """The sigma at which a schedule's last `round(fraction * steps)` steps begin (the paper's literal n = eta N)."""
    steps = len(sigmas_S) - 1
    kept = round(fraction * steps)
    if not 1 <= kept <= steps:
        raise UserError(
            f"eta {fraction:g} as a share of {steps} steps leaves {kept}: choose one between {1 / steps:.2g} and 1"
        )
    return sigmas_S[steps - kept].item()


def step_fraction(sigmas_S: Tensor, eta: float, multistep: bool = False) -> float:
    """Which share of the schedule's steps remains when a clip is denoised from eta."""
    return (len(starting_at(sigmas_S, eta, multistep)) - 1) / (len(sigmas_S) - 1)
