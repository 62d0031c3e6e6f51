"""Which noise levels the sampler visits, and where a guided pair starts.

A schedule is a float32 tensor of sigmas, descending, ending at 0: `steps + 1` values for `steps` model calls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from densedpo.errors import UserError


def starting_at(sigmas_S: Tensor, eta: float) -> Tensor:
    """Insert eta itself as the first sigma, then the schedule's own sigmas below it.

    The clip is noised to exactly eta, so the first step must start exactly there, wherever the schedule's grid lies.

    Raises:
        UserError: eta is not between 0 and the schedule's highest sigma.
    """
    if not 0 < eta <= sigmas_S[0].item():
        raise UserError(
            f"eta {eta:g} is not a noise level of this model: choose one above 0 and at most {sigmas_S[0].item():g}"
        )
    first = torch.tensor([eta], dtype=sigmas_S.dtype)
    return torch.cat([first, sigmas_S[sigmas_S < first]])


def eta_of_step_fraction(sigmas_S: Tensor, fraction: float) -> float:
    """The sigma at which a schedule's last `round(fraction * steps)` steps begin (the paper's literal n = eta N)."""
    steps = len(sigmas_S) - 1
    kept = round(fraction * steps)
    if not 1 <= kept <= steps:
        raise UserError(
            f"eta {fraction:g} as a share of {steps} steps leaves {kept}: choose one between {1 / steps:.2g} and 1"
        )
    return sigmas_S[steps - kept].item()


def step_fraction(sigmas_S: Tensor, eta: float) -> float:
    """Which share of the schedule's steps remains when a clip is denoised from eta."""
    return (len(starting_at(sigmas_S, eta)) - 1) / (len(sigmas_S) - 1)
