"""Confidence intervals for means, shares and paired differences.

The unit that varies independently is the prompt: several seeds of one prompt are averaged before anything
else, so more seeds make an interval steadier but never pretend to be more prompts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Method = Literal["t", "bootstrap"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence limits. `n` counts independent units; limits are NaN where `n` is too small."""

    mean: float
    low: float
    high: float
    n: int

    def excludes(self, value: float) -> bool:
        """True when `value` lies outside the limits; False when the limits are unknown."""
        return value < self.low or value > self.high


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval for the mean: `mean ± t(level, n - 1) * sd / sqrt(n)`. One value has no limits."""
    array = _finite(values, level)
    n = array.size
    if n < 2:
        return Interval(float(array[0]) if n else math.nan, math.nan, math.nan, n)
    mean = float(array.mean())
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def bootstrap_interval(values: Sequence[float], level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval for the mean.

    Assumes no shape, but is too narrow for few values (with 5 it covers about 84%): prefer `mean_interval` there.
    """
    array = _finite(values, level)
    n = array.size
    if n < 2:
        return mean_interval(values, level)
    rng = np.random.default_rng(seed)
    means = np.array([array[rng.integers(0, n, n)].mean() for _ in range(draws)])
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(array.mean()), float(low), float(high), n)


def proportion_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson interval for a share. Never leaves [0, 1], and keeps a width at 0 of n and n of n."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, got {successes} of {n}")
    _check_level(level)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), n)


def group_means(values: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """The mean of each group's values, groups in order of first appearance."""
    if len(values) != len(groups):
        raise ValueError(f"expected one group per value, got {len(values)} values and {len(groups)} groups")
    gathered: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        gathered.setdefault(group, []).append(value)
    return [float(np.mean(members)) for members in gathered.values()]


def paired_difference(
    base: Sequence[float],
    other: Sequence[float],
    groups: Sequence[Hashable],
    level: float = 0.95,
    method: Method = "t",
) -> Interval:
    """The mean of `other - base`, clustered: differences are averaged within a group, then the interval is over groups.

    Position i of `base` and `other` is the same prompt and seed; `groups[i]` names the prompt.
    """
    if len(base) != len(other):
        raise ValueError(f"expected pairs, got {len(base)} base values and {len(other)} others")
    differences = [after - before for before, after in zip(base, other, strict=True)]
    means = group_means(differences, groups)
    return mean_interval(means, level) if method == "t" else bootstrap_interval(means, level)


def _finite(values: Sequence[float], level: float) -> NDArray[np.float64]:
    _check_level(level)
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("values must be finite: leave out what was not measured")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
