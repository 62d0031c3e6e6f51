"""The statistics of the gates, and how sure they are.

Shapes: P prompts (or guide clips), K clips of each, n of them chosen. Everything varies independently between prompts
only, so all errors are over prompts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from densedpo.stats import mean_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
LOWEST_SPEED = 0.1  # pixels per frame; what the oracle measures below it is not told from rest


@dataclass(frozen=True)
class Estimate:
    """A statistic, its standard error over prompts, and a 95% interval; NaN where unknown."""

    value: float
    error: float = math.nan
    low: float = math.nan
    high: float = math.nan


def jackknife(statistic: Callable[..., float], *arrays: Floats | Integers) -> Estimate:
    """A statistic of arrays that share their first axis, prompts: standard error and t interval by leaving one out.

    From Tukey's pseudo-values P s - (P - 1) s_(-i) (Efron 1982, The Jackknife, chapter 3); for a mean these are the
    usual ones. Not for medians, where the jackknife fails.
    """
    value, prompts = statistic(*arrays), len(arrays[0])
    if prompts < 2 or not math.isfinite(value):
        return Estimate(value)
    without = [statistic(*(np.delete(array, left_out, axis=0) for array in arrays)) for left_out in range(prompts)]
    pseudo = prompts * value - (prompts - 1) * np.asarray(without)
    if not np.isfinite(pseudo).all():
        return Estimate(value)
    interval = mean_interval(pseudo.tolist())
    half = interval.high - interval.mean
    return Estimate(value, float(pseudo.std(ddof=1)) / math.sqrt(prompts), value - half, value + half)


def ratio(above: Floats | Integers | float, below: Floats | Integers | float) -> float:
    """Sum over sum; NaN where the lower one is 0."""
    under = float(np.sum(below))
    return float(np.sum(above)) / under if under else math.nan


def log_speed(speed: Floats) -> Floats:
    """Natural logarithm of speeds in pixels per frame, those of clips (nearly) at rest raised to `LOWEST_SPEED`."""
    return np.asarray(np.log(np.maximum(speed, LOWEST_SPEED)))


def thirds(values: Floats) -> Integers:
    """0, 1 or 2 for the lowest, middle and highest third of all values, in the shape of `values`."""
    order = rankdata(values, method="ordinal").reshape(values.shape) - 1
    return np.asarray(order * 3 // values.size, dtype=np.int64)


def slope(x: Floats, y: Floats) -> float:
    """Of the least-squares line through all points; NaN if x does not vary."""
    centred = x - x.mean()
    return ratio(centred * y, centred**2)


def slopes_ratio(x: Floats, y: Floats, base_x: Floats, base_y: Floats) -> float:
    """Size of one slope over the size of another."""
    return ratio(abs(slope(x, y)), abs(slope(base_x, base_y)))


def variation(values_PK: Floats) -> float:
    """Mean over prompts of the coefficient of variation; a prompt whose values are all 0 counts as 0."""
    mean_P, deviation_P = values_PK.mean(axis=1), values_PK.std(axis=1, ddof=1)
    return float(np.mean(deviation_P / np.where(mean_P == 0, 1.0, mean_P)))


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's, over all values; 0 if either does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's, with mean ranks for ties; 0 if either does not vary."""
    return correlation(rankdata(x.ravel()), rankdata(y.ravel()))


def within_prompt_correlation(x_PK: Floats, y_PK: Floats) -> float:
    """Mean over prompts of Spearman's correlation among the prompt's clips."""
    return float(np.mean([rank_correlation(x, y) for x, y in zip(x_PK, y_PK, strict=True)]))


def slower_preferred(choice_PKK: Integers, speed_PK: Floats) -> tuple[Integers, Integers]:
    """For each prompt `[P]`: pairs in which the slower clip is preferred, and decisive pairs.

    `choice` is 1 where the row's clip is preferred to the column's, -1 the other way round, 0 for a tie. Pairs of equal
    speed have no slower clip and are left out.
    """
    slower = np.sign(speed_PK[:, None, :] - speed_PK[:, :, None])  # 1 where the row's clip is the slower one
    agrees = np.triu(choice_PKK * slower, 1)
    return (agrees > 0).sum(axis=(1, 2)), (agrees != 0).sum(axis=(1, 2))


def value_of_best(choice_KK: Integers, values_K: Floats, n: int) -> float:
    """The value of the clip that an annotator finds best of n, mean over all ways to choose n of the K clips.

    The best has the most wins less losses against the others of the n, each met once; of equals, their mean value.
    """
    best = []
    for chosen in itertools.combinations(range(len(values_K)), n):
        wins = choice_KK[np.ix_(chosen, chosen)].sum(axis=1)
        best.append(values_K[list(chosen)][wins == wins.max()].mean())
    return float(np.mean(best))


def pairs_above_diagonal(values_PKK: ArrayLike) -> Floats:
    """`[P, K, K]` of what two clips have in common, to one value for each unordered pair, `[P, K (K - 1) / 2]`."""
    whole = np.asarray(values_PKK, dtype=np.float64)
    rows, columns = np.triu_indices(whole.shape[1], 1)
    return np.asarray(whole[:, rows, columns])
