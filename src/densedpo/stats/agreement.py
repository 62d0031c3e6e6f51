"""How far labellers agree: accuracy, kappa, alpha, position bias, each with an interval.

Choices are signs: +1 a better, 0 tie, -1 b better; NaN is no opinion. Every statistic here is a function of one K x K
table of counts, so an interval draws the groups (pairs) again with replacement, adds up their tables, and asks again:
the segments of one pair are not independent, the pairs are. Functions of tables take any leading axes.

Shapes: U units, R raters, K values in ascending order (a confusion table has the order a, tie, b), G groups, N draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from densedpo.stats.intervals import Interval, proportion_interval

Array = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]
Statistic = Callable[[Array], Array]  # of tables [..., K, K], one number each

ORDER = (1, 0, -1)  # rows and columns of a confusion table: a, tie, b
RESAMPLES = 2000
DRAWS_AT_ONCE = 64  # keeps the counts of a draw, [draws, G], small


@dataclass(frozen=True)
class Agreement:
    """How `given` choices agree with `reference` ones on `n` units that both judged.

    `confusion` [3][3] counts (reference, given) in the order a, tie, b. `accuracy` counts ties as a third answer;
    `accuracy_without_ties` is over the units on which both chose a side, and `decided` says which share of the
    reference's decisive units that is. Intervals are over groups; NaN where nothing can be said.
    """

    n: int
    groups: int
    confusion: tuple[tuple[int, ...], ...]
    accuracy: Interval
    accuracy_without_ties: Interval
    decided: Interval
    kappa: Interval
    kappa_linear: Interval
    alpha: Interval


def agreement(
    reference: Sequence[float],
    given: Sequence[float],
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Compare two labellers unit by unit; `groups[i]` names the pair of unit i. Units with a NaN are left out."""
    first, second = _paired(reference, given)
    kept = np.isfinite(first) & np.isfinite(second)
    names = [name for name, keep in zip(groups, kept, strict=True) if keep]
    units_UKK = np.zeros((len(names), 3, 3))
    rows, columns = _places(first[kept]), _places(second[kept])
    units_UKK[np.arange(len(names)), rows, columns] = 1
    sample = Resampled.draw(_by_group(units_UKK, names), seed, resamples)
    return Agreement(
        n=len(names),
        groups=len(sample.tables_GKK),
        confusion=tuple(tuple(int(count) for count in row) for row in units_UKK.sum(axis=0)),
        accuracy=sample.share(_accuracy),
        accuracy_without_ties=sample.share(lambda tables: _accuracy(tables[..., ::2, ::2])),
        decided=sample.share(lambda tables: _ratio(_total(tables[..., ::2, ::2]), _total(tables[..., ::2, :]))),
        kappa=sample.interval(lambda tables: _kappa(tables, 1 - np.eye(3))),
        kappa_linear=sample.interval(lambda tables: _kappa(tables, _distances(np.arange(3.0)))),
        alpha=sample.interval(lambda tables: _alpha(tables + tables.swapaxes(-1, -2), np.arange(3.0), "ordinal")),
    )


def confusion(reference: Sequence[float], given: Sequence[float]) -> NDArray[np.int64]:
    """Counts [3, 3] of (reference, given), both in the order a, tie, b. Units with a NaN are left out."""
    first, second = _paired(reference, given)
    kept = np.isfinite(first) & np.isfinite(second)
    table_KK = np.zeros((3, 3), np.int64)
    np.add.at(table_KK, (_places(first[kept]), _places(second[kept])), 1)
    return table_KK


def cohen_kappa(first: Any, second: Any, weights: Literal["linear"] | None = None) -> float:
    """Cohen's kappa of two raters: `1 - observed / expected` disagreement (Cohen 1960; weighted: Cohen 1968).

    `first` and `second` are [U] numbers. Plain kappa counts every disagreement as 1, `linear` as the distance of the
    two values. Units with a NaN are left out. NaN when chance alone would agree always, or nothing is left.
    """
    x, y = _paired(first, second)
    kept = np.isfinite(x) & np.isfinite(y)
    values, codes = np.unique(np.concatenate([x[kept], y[kept]]), return_inverse=True)
    table_KK = np.zeros((len(values), len(values)))
    np.add.at(table_KK, tuple(codes.reshape(2, -1)), 1)
    return float(_kappa(table_KK, 1 - np.eye(len(values)) if weights is None else _distances(values)))


def krippendorff_alpha(ratings: Any, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of `ratings` [U, R], NaN where a rater gave none (Krippendorff 2011).

    Units with fewer than two ratings say nothing. NaN when no unit has two or when all values are the same.
    """
    units_UKK, values, _ = _coincidences(ratings)
    return float(_alpha(units_UKK.sum(axis=0), values, level))


def alpha_interval(
    ratings: Any,
    level: Level = "ordinal",
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Krippendorff's alpha of `ratings` [U, R] with a bootstrap interval over `groups` of units (None: over units)."""
    units_UKK, values, pairable = _coincidences(ratings)
    names: Sequence[Hashable] = range(len(pairable)) if groups is None else groups
    tables_GKK = _by_group(units_UKK, [name for name, keep in zip(names, pairable, strict=True) if keep])
    sample = Resampled.draw(tables_GKK, seed, resamples)
    return sample.interval(lambda tables: _alpha(tables, values, level), confidence)


def position_bias(chosen_first: int, decisive: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """(share, low, high): how often the video shown first was chosen among `decisive` answers; 0.5 is fair.

    The interval is exact (Clopper and Pearson 1934). NaN without a decisive answer.
    """
    if not 0 <= chosen_first <= decisive:
        raise ValueError(f"chosen_first must lie between 0 and decisive, got {chosen_first} of {decisive}")
    if not decisive:
        return math.nan, math.nan, math.nan
    tail, rest = (1 - confidence) / 2, decisive - chosen_first
    low = float(betaincinv(chosen_first, rest + 1, tail)) if chosen_first else 0.0
    high = float(betaincinv(chosen_first + 1, rest, 1 - tail)) if rest else 1.0
    return chosen_first / decisive, low, high


@dataclass(frozen=True)
class Resampled:
    """The tables of all groups, and the sum of each of N draws of as many groups with replacement."""

    tables_GKK: Array
    drawn_NKK: Array

    @classmethod
    def draw(cls, tables_GKK: Array, seed: int, resamples: int) -> Resampled:
        """Draw groups and add up their tables. One group alone is not drawn: it says nothing about others."""
        groups, rng = len(tables_GKK), np.random.default_rng(seed)
        drawn_NKK = np.zeros((resamples if groups > 1 else 0, *tables_GKK.shape[1:]))
        for start in range(0, len(drawn_NKK), DRAWS_AT_ONCE):
            draws = len(drawn_NKK[start : start + DRAWS_AT_ONCE])
            times_NG = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws).astype(np.float64)
            drawn_NKK[start : start + draws] = np.tensordot(times_NG, tables_GKK, axes=1)
        return cls(tables_GKK, drawn_NKK)

    def interval(self, statistic: Statistic, confidence: float = 0.95) -> Interval:
        """The statistic with a percentile bootstrap interval over the groups.

        Draws for which it is not defined (NaN) are left out. Without draws, or if they all agree, there are no limits.
        """
        groups, value = len(self.tables_GKK), float(statistic(self.tables_GKK.sum(axis=0)))
        drawn_N = statistic(self.drawn_NKK)
        drawn_N = drawn_N[np.isfinite(drawn_N)]
        if math.isnan(value) or not drawn_N.size or np.ptp(drawn_N) == 0:
            return Interval(value, math.nan, math.nan, groups)
        low, high = np.quantile(drawn_N, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return Interval(value, float(low), float(high), groups)

    def share(self, statistic: Statistic) -> Interval:
        """As `interval`, for a share: where all groups say 0 or all say 1, Wilson's interval over these groups."""
        found, of_group_G = self.interval(statistic), statistic(self.tables_GKK)
        groups = int(np.isfinite(of_group_G).sum())
        if found.mean not in (0.0, 1.0) or groups < 2:
            return found
        wilson = proportion_interval(groups if found.mean else 0, groups)
        return Interval(found.mean, wilson.low, wilson.high, found.n)


def _paired(first: Any, second: Any) -> tuple[Array, Array]:
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected two lists of one length, got shapes {x.shape} and {y.shape}")
    return x, y


def _places(signs: Array) -> NDArray[np.int64]:
    """Signs +1, 0, -1 to places 0, 1, 2 of `ORDER`."""
    if not np.isin(signs, ORDER).all():
        raise ValueError(f"choices must be +1 (a), 0 (tie), -1 (b) or NaN, got {sorted(set(signs) - set(ORDER))}")
    return (1 - signs).astype(np.int64)


def _by_group(units_UKK: Array, names: Sequence[Hashable]) -> Array:
    places: dict[Hashable, int] = {}
    of_unit = [places.setdefault(name, len(places)) for name in names]
    tables_GKK = np.zeros((len(places), *units_UKK.shape[1:]))
    np.add.at(tables_GKK, of_unit, units_UKK)
    return tables_GKK


def _coincidences(ratings: Any) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Coincidence table of each pairable unit [P, K, K], the values [K], and which units [U] are pairable."""
    given_UR = np.asarray(ratings, np.float64)
    if given_UR.ndim != 2:
        raise ValueError(f"ratings: expected [units, raters], got shape {given_UR.shape}")
    values = np.unique(given_UR[np.isfinite(given_UR)])
    counts_UK = (given_UR[:, :, None] == values).sum(axis=1).astype(np.float64)
    pairable = counts_UK.sum(axis=1) >= 2
    counts_UK = counts_UK[pairable]
    both = counts_UK[:, :, None] * counts_UK[:, None, :] - counts_UK[:, :, None] * np.eye(len(values))
    return both / (counts_UK.sum(axis=1) - 1)[:, None, None], values, pairable


def _alpha(coincidences: Array, values: Array, level: Level) -> Array:
    """alpha = 1 - D_o / D_e of tables [..., K, K], D_e from the marginals n_c n_k / (n - 1) (Krippendorff 2011, E)."""
    marginal = coincidences.sum(axis=-2)
    if level == "nominal":
        distance: Array = 1 - np.eye(len(values))
    elif level == "interval":
        distance = _distances(values) ** 2
    else:  # the ranks between two values, each value's own counted half
        distance = _distances(np.cumsum(marginal, axis=-1) - marginal / 2) ** 2
    expected = _total(marginal[..., :, None] * marginal[..., None, :] * distance)
    return 1 - np.asarray(marginal.sum(axis=-1) - 1) * _ratio(_total(coincidences * distance), expected)


def _kappa(tables: Array, disagreement_KK: Array) -> Array:
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    expected = rows[..., :, None] * columns[..., None, :] / np.maximum(1, _total(tables))[..., None, None]
    return 1 - _ratio(_total(tables * disagreement_KK), _total(expected * disagreement_KK))


def _distances(values: Array) -> Array:
    return np.abs(values[..., :, None] - values[..., None, :])


def _accuracy(tables: Array) -> Array:
    return _ratio(np.trace(tables, axis1=-2, axis2=-1), _total(tables))


def _total(tables: Array) -> Array:
    return np.asarray(tables.sum(axis=(-2, -1)))


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, NaN where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole != 0))
