"""Dawid and Skene's model of annotators who err each in their own way, fitted by expectation maximisation.

A. P. Dawid, A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Applied
Statistics 28 (1979). Every unit has one true choice, drawn from a prior; annotator r answers k where j is true with
probability chosen[r, j, k], independently of the others. Nobody needs to know any truth.

Shapes: U units, R raters, K choices in the order of `ORDER` (a, tie, b); J is K as the true choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.stats.agreement import ORDER

Array = NDArray[np.float64]

# Imagined answers that every annotator has given already: of three units of each kind, two right. They keep
# probabilities off 0 and 1, and let an annotator with few answers count for little.
IMAGINED_JK = np.full((3, 3), 0.5) + 1.5 * np.eye(3)
MOST_ROUNDS = 500


@dataclass(frozen=True)
class DawidSkene:
    """How often each choice is true, how each rater answers then, and how sure the truth of each unit is.

    `objective` is the logarithm of what is maximised, after each round; it never falls.
    """

    prior_J: Array
    chosen_RJK: Array
    truth_UJ: Array
    objective: tuple[float, ...]


def dawid_skene(ratings: Any, imagined: Array = IMAGINED_JK, tolerance: float = 1e-8) -> DawidSkene:
    """Fit the model to `ratings` [U, R]: +1 a, 0 tie, -1 b, NaN none. It starts from each unit's shares of votes.

    `imagined` [J, K] are the answers that every rater is credited with beforehand (0: plain maximum likelihood).
    Stops when no probability of a truth moves by more than `tolerance`. Raises ValueError for other ratings.
    """
    given_UR = np.asarray(ratings, np.float64)
    if given_UR.ndim != 2 or not np.isin(given_UR[np.isfinite(given_UR)], ORDER).all():
        raise ValueError(f"ratings: expected [units, raters] of +1, 0, -1 or NaN, got shape {given_UR.shape}")
    answers_URK = (given_UR[:, :, None] == np.array(ORDER)).astype(np.float64)
    votes_UK = answers_URK.sum(axis=1)
    given_U = votes_UK.sum(axis=1, keepdims=True)
    truth_UJ = np.divide(votes_UK, given_U, out=np.full_like(votes_UK, 1 / 3), where=given_U > 0)
    objective: list[float] = []
    for _ in range(MOST_ROUNDS):
        prior_J, chosen_RJK = _maximise(answers_URK, truth_UJ, imagined)
        log_UJ = np.log(_off_zero(prior_J)) + np.einsum("urk,rjk->uj", answers_URK, np.log(_off_zero(chosen_RJK)))
        peak_U1 = log_UJ.max(axis=1, keepdims=True)
        odds_UJ = np.exp(log_UJ - peak_U1)
        likelihood = float((peak_U1[:, 0] + np.log(odds_UJ.sum(axis=1))).sum())
        objective.append(likelihood + float((imagined * np.log(_off_zero(chosen_RJK))).sum()))
        before, truth_UJ = truth_UJ, odds_UJ / odds_UJ.sum(axis=1, keepdims=True)
        if not truth_UJ.size or np.abs(truth_UJ - before).max() <= tolerance:
            break
    return DawidSkene(prior_J, chosen_RJK, truth_UJ, tuple(objective))


def _maximise(answers_URK: Array, truth_UJ: Array, imagined_JK: Array) -> tuple[Array, Array]:
    """Equations 2.3 and 2.4 of the paper, with the imagined answers added."""
    counts_RJK = np.einsum("uj,urk->rjk", truth_UJ, answers_URK) + imagined_JK
    total_RJ1 = counts_RJK.sum(axis=2, keepdims=True)
    even = np.full_like(counts_RJK, 1 / 3)
    chosen_RJK = np.divide(counts_RJK, total_RJ1, out=even, where=total_RJ1 > 0)
    return truth_UJ.mean(axis=0) if len(truth_UJ) else np.full(3, 1 / 3), chosen_RJK


def _off_zero(probability: Array) -> Array:
    return np.maximum(probability, 1e-300)
