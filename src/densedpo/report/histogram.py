"""Histograms over round bins, and their bars as SVG coordinates. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from densedpo.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from densedpo.svg import Scale, nice_step, nice_ticks

BINS = 16  # about; their edges are round numbers


@dataclass(frozen=True)
class Bar:
    """One bin as a rectangle, and what it says."""

    x: float
    y: float
    width: float
    height: float
    hint: str


@dataclass(frozen=True)
class Bars:
    """A histogram to draw. `mark` is the place of a value to compare with, if it lies within."""

    bars: list[Bar]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    median: float
    mark: float | None


def histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """Counts in round bins, low end included, and quartiles; None of nothing."""
    if not values:
        return None
    low, high = min(values), max(values)
    quarter, median, three_quarters = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    told = {"n": len(values), "low": low, "quarter": quarter, "median": median, "three_quarters": three_quarters}
    if low == high:
        return told | {"high": high, "bins": [{"low": low, "high": high, "n": len(values)}]}
    step = nice_step(low, high, BINS)
    first = math.floor(low / step + 1e-9)
    places = [min(math.floor(value / step + 1e-9), math.ceil(high / step - 1e-9) - 1) - first for value in values]
    counts = np.bincount(places).tolist()
    edges = [round((first + place) * step, 12) for place in range(len(counts) + 1)]
    bins = [{"low": edges[i], "high": edges[i + 1], "n": count} for i, count in enumerate(counts)]
    return told | {"high": high, "bins": bins}


def bars(found: Mapping[str, Any] | None, noun: str, mark: float | None = None) -> Bars | None:
    """The histogram as rectangles; None of nothing. `noun` names what is counted, `mark` a value to compare with."""
    if found is None:
        return None
    bins = found["bins"]
    low, high = bins[0]["low"], bins[-1]["high"]
    if low == high:
        room = abs(low) / 10 or 0.5
        low, high, bins = low - room, high + room, [{"low": low - room / 4, "high": low + room / 4, "n": found["n"]}]
    most = max(each["n"] for each in bins)
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(0, most, HEIGHT - BOTTOM, TOP)
    drawn = [
        Bar(
            x(each["low"]) + 0.5,
            y(each["n"]),
            max(round(x(each["high"]) - x(each["low"]) - 1, 1), 0.5),
            round(HEIGHT - BOTTOM - y(each["n"]), 1),
            f"{each['low']:.3g} to {each['high']:.3g}: {each['n']:,} {noun}",
        )
        for each in bins
    ]
    counts = [(y(value), f"{value:,.0f}") for value, _ in nice_ticks(0, most, 4) if value == round(value)]
    return Bars(drawn, x.ticks(5), counts, x(found["median"]), x(mark) if mark and low < mark < high else None)
