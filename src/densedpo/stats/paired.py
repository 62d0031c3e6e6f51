"""Tests of paired differences: does it differ, how small a difference could have been seen, is nothing lost.

The unit is the prompt, as in `intervals.py`: seeds of one prompt are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

from densedpo.stats.intervals import Interval, group_means, mean_interval


@dataclass(frozen=True)
class Kept:
    """Whether `other` keeps at least 1 - `margin` of `base`.

    `surplus` is the interval of `other - (1 - margin) * base`; it `holds` if all of it lies above 0. `ratio` is
    mean(other) / mean(base), None for a base of 0; `p` is one-sided.
    """

    margin: float
    ratio: float | None
    surplus: Interval
    holds: bool
    p: float


def t_test(differences: Sequence[float], side: int = 0) -> float:
    """p of Student's t-test that the mean is 0, one difference per prompt; NaN for fewer than two.

    Two-sided, or with `side` 1 against a mean above 0. Assumes independent prompts and a mean that is nearly normal,
    which a few dozen prompts give unless the differences are very skewed.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.size
    if n < 2:
        return math.nan
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return float(stdtr(n - 1, -t)) if side == 1 else 2 * float(stdtr(n - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Scandinavian Journal of Statistics, 1979), in the order given; NaN stays NaN.

    Rejecting those below alpha keeps the chance of even one false finding below alpha, whatever the dependence.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


def smallest_detectable(differences: Sequence[float], level: float = 0.95, power: float = 0.8) -> float:
    """The true mean difference that a study with as many prompts and this spread would find with probability `power`.

    From the noncentral t distribution of the two-sided test at 1 - `level`; the far tail is left out. One difference
    per prompt; NaN for fewer than two.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.size
    if n < 2:
        return math.nan
    critical = float(stdtrit(n - 1, 0.5 + level / 2))
    return float(nctdtrinc(n - 1, 1 - power, critical)) * float(values.std(ddof=1)) / math.sqrt(n)


def keeps(base: Sequence[float], other: Sequence[float], groups: Sequence[Hashable], margin: float) -> Kept:
    """Non-inferiority: is more than `1 - margin` of the base's mean kept? One-sided at 2.5%.

    The margin is a share of the base, and the base's own uncertainty is part of the interval: the mean of
    `other - (1 - margin) * base`, paired and clustered as `paired_difference`. Raises ValueError for a margin that is
    no share.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, got {margin}")
    surplus = group_means([b - (1 - margin) * a for a, b in zip(base, other, strict=True)], groups)
    interval = mean_interval(surplus)
    mean_base, mean_other = (float(np.mean(group_means(side, groups))) for side in (base, other))
    ratio = mean_other / mean_base if mean_base else None
    return Kept(margin, ratio, interval, interval.low > 0, t_test(surplus, side=1))
