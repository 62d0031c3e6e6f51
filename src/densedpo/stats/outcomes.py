"""Win, tie, lose between two contestants, and strengths of several: counts over prompts.

The unit is the prompt: a contestant wins a prompt if the mean of its differences over seeds exceeds the tie band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, expit

from densedpo.stats.intervals import Interval, proportion_interval

Matrix = NDArray[np.float64]  # [..., K, K]: how often the row's contestant has beaten the column's; a tie is half

DRAWS = 2000
PRIOR = 0.5  # wins that each contestant is given over each other one, so that one who never lost has a finite strength


@dataclass(frozen=True)
class Outcomes:
    """Prompts won, tied and lost, their shares with Wilson's intervals, and p of the sign test, ties left out."""

    wins: int
    ties: int
    losses: int
    win_share: Interval
    lose_share: Interval
    p: float


def win_tie_lose(differences: Sequence[float], tie_band: float = 0.0) -> Outcomes:
    """Outcomes from one difference per prompt, positive where the contestant is better.

    A difference within `tie_band` of 0 is a tie. Assumes independent prompts and nothing of their distribution.
    Raises ValueError for a negative band or a difference that is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if tie_band < 0 or not np.isfinite(values).all():
        raise ValueError("the tie band must not be negative, and differences must be finite")
    wins, losses = int((values > tie_band).sum()), int((values < -tie_band).sum())
    n = values.size
    shares = proportion_interval(wins, n), proportion_interval(losses, n)
    return Outcomes(wins, n - wins - losses, losses, *shares, p=sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p that wins and losses are equally likely; 1 if there are none."""
    decided = wins + losses
    return min(1.0, 2 * float(bdtr(min(wins, losses), decided, 0.5))) if decided else 1.0


def bradley_terry(wins_NKK: Matrix, level: float = 0.95, seed: int = 0) -> list[Interval]:
    """Strengths of K contestants, their mean 0, with bootstrap intervals over the N prompts.

    `wins_NKK[n, i, j]` is what i scored against j on prompt n (1, 0.5 or 0). i beats j with probability
    1 / (1 + exp(s_j - s_i)) (Bradley and Terry, Biometrika 1952), so 1 of strength is 73% wins. A tie is half a win
    each, and half a win is added each way between every two. Percentile intervals assume independent prompts and are
    too narrow below about 20. Raises ValueError if the array is no [N, K, K] with N and K of at least 1.
    """
    if wins_NKK.ndim != 3 or wins_NKK.shape[1] != wins_NKK.shape[2] or 0 in wins_NKK.shape:
        raise ValueError(f"expected wins of shape [N, K, K], got {list(wins_NKK.shape)}")
    n = len(wins_NKK)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    drawn = _strengths(np.einsum("dn,nij->dij", weights, wins_NKK))
    middle = _strengths(wins_NKK.sum(axis=0)[None])[0]
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    limits = (low, high) if n > 1 else (np.full_like(middle, np.nan),) * 2
    return [Interval(float(m), float(a), float(b), n) for m, a, b in zip(middle, *limits, strict=True)]


def _strengths(wins_DKK: Matrix) -> NDArray[np.float64]:
    """Most likely strengths [D, K] by Newton's method, D fits at once."""
    contestants = wins_DKK.shape[1]
    given = PRIOR * (1 - np.eye(contestants))
    wins = wins_DKK * (1 - np.eye(contestants)) + given
    games = wins + wins.transpose(0, 2, 1)
    strengths = np.zeros(wins.shape[:2])
    for _ in range(100):
        chance = expit(strengths[:, :, None] - strengths[:, None, :])
        gradient = (wins - games * chance).sum(axis=2)
        weight = games * chance * (1 - chance)
        # The added constant fixes what the likelihood leaves open: a shift of all strengths.
        hessian = np.eye(contestants) * weight.sum(axis=2)[:, :, None] - weight + 1 / contestants
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        strengths += step
        if np.abs(step).max() < 1e-10:
            break
    centred: NDArray[np.float64] = strengths - strengths.mean(axis=1, keepdims=True)
    return centred
