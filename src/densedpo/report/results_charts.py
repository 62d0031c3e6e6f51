"""Geometry of the results page's charts: figures of results.json in, SVG coordinates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from densedpo.svg import Scale, nice_ticks

WIDTH, EDGE = 210, 12
Limits = Mapping[str, Any]  # `mean`, `low`, `high`, each a number or None where it is unknown


@dataclass(frozen=True)
class Mark:
    """A dot, and the ends of its whisker where the limits are known."""

    at: float
    ends: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """Marks of contestants on one axis, its ticks, and the line that they are held against."""

    marks: dict[str, Mark]
    ticks: list[tuple[float, str]]
    line: float
    width: int = WIDTH


def difference_chart(differences: Mapping[str, Limits], better: str) -> Chart:
    """Differences from the baseline around a zero in the middle. To the right is better, or more if nothing is better.

    `differences`: contestant → limits. `better`: higher, lower or neither.
    """
    known = {name: each for name, each in differences.items() if each["mean"] is not None}
    extent = 1.08 * max((abs(value) for each in known.values() for value in _values(each)), default=0.0) or 1.0
    side = -extent if better == "lower" else extent
    axis = Scale(-side, side, EDGE, WIDTH - EDGE)
    ticks = [(axis(value), signed(label)) for value, label in nice_ticks(-extent, extent, 4)]
    return Chart(_marks(known, axis), ticks, axis(0.0))


def kept_chart(kept: Mapping[str, Mapping[str, Any]], level: float | None) -> Chart | None:
    """Shares of the baseline's motion that contestants keep, against the share they must not fall below.

    `kept`: contestant → its entry of `motion_kept`; `level`: the baseline's mean. The whisker is that of the surplus
    as a share of this mean, so it clears the line exactly where the surplus clears 0. None if there is no share.
    """
    shares = {}
    for name, each in kept.items():
        surplus = each["surplus"]
        if level and each["ratio"] is not None and surplus["mean"] is not None:
            ends = {end: _shifted(each["ratio"], surplus[end], surplus["mean"], level) for end in ("low", "high")}
            shares[name] = {"mean": each["ratio"], **ends}
    if not shares:
        return None
    line = 1 - next(iter(kept.values()))["margin"]
    values = [value for each in shares.values() for value in _values(each)] + [line, 1.0]
    axis = _axis(values)
    ticks = [(axis(value / 100), f"{label}%") for value, label in nice_ticks(100 * axis.low, 100 * axis.high, 4)]
    return Chart(_marks(shares, axis), ticks, axis(line))


def strength_chart(strengths: Mapping[str, Limits]) -> Chart | None:
    """Bradley-Terry strengths around their mean, 0. None if there are none."""
    known = {name: each for name, each in strengths.items() if each["mean"] is not None}
    if not known:
        return None
    axis = _axis([value for each in known.values() for value in _values(each)] + [0.0])
    ticks = [(axis(value), signed(label)) for value, label in nice_ticks(axis.low, axis.high, 4)]
    return Chart(_marks(known, axis), ticks, axis(0.0))


def signed(label: str) -> str:
    """A tick's label with a plus sign where it is above zero."""
    return label if label == "0" or label.startswith("−") else f"+{label}"


def _axis(values: Sequence[float]) -> Scale:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    return Scale(low - room, high + room, EDGE, WIDTH - EDGE)


def _marks(known: Mapping[str, Limits], axis: Scale) -> dict[str, Mark]:
    return {
        name: Mark(axis(each["mean"]), None if each["low"] is None else (axis(each["low"]), axis(each["high"])))
        for name, each in known.items()
    }


def _values(limits: Limits) -> list[float]:
    return [limits[key] for key in ("mean", "low", "high") if limits[key] is not None]


def _shifted(ratio: float, end: float | None, mean: float, level: float) -> float | None:
    return None if end is None else ratio + (end - mean) / level
