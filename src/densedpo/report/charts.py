"""Geometry of the charts: numbers in, SVG coordinates out. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.report.runs import finite
from densedpo.report.words import relative_limits

Array = NDArray[np.float64]

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 10, 24
FOREST_WIDTH = 300
MOST_POINTS = 800  # of a raw curve; beyond, each bin keeps its lowest and its highest point


@dataclass(frozen=True)
class Scale:
    """A linear axis: values `low..high` onto coordinates `start..end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """Round numbers on the axis with their coordinates."""
        return [(self(value), label) for value, label in nice_ticks(self.low, self.high, count)]


@dataclass(frozen=True)
class Line:
    """One curve: the raw values faint, the smoothed ones on top, and the values themselves for the readout."""

    label: str
    raw: str
    smooth: str
    values: list[float | None]
    last: float


@dataclass(frozen=True)
class Panel:
    """One small chart of the training log."""

    title: str
    hint: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    reference: tuple[float, str] | None


@dataclass(frozen=True)
class Curves:
    """What one panel shows: (log key, label) of each curve, and a reference value with its name."""

    title: str
    hint: str
    keys: tuple[tuple[str, str], ...]
    reference: tuple[float, str] | None = None
    noisy: bool = True


PANELS = (
    Curves(
        "Loss",
        "ln 2 is indifference",
        (("loss", "loss"), ("validation_loss", "validation")),
        (math.log(2), "ln 2"),
    ),
    Curves(
        "Implicit accuracy",
        "ranked as labelled",
        (("accuracy", "frames"), ("pair_accuracy", "pairs")),
        (0.5, "chance"),
    ),
    Curves("Argument of the sigmoid", "median size: below 0.1 little has happened", (("inside_median", "size"),)),
    Curves("Error", "minus the reference’s", (("winner_delta", "winner"), ("loser_delta", "loser")), (0.0, "")),
    Curves("Loser-dominated", "share of frames", (("loser_dominated", "share"),)),
    Curves("Gradient norm", "before clipping", (("grad_norm", "norm"),)),
)


def training_panels(log: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """One panel for every curve the log holds."""
    steps = np.array([line["step"] for line in log], dtype=np.float64)
    panels = []
    for curves in PANELS:
        columns = [(label, _column(log, key)) for key, label in curves.keys]
        columns = [(label, values) for label, values in columns if np.isfinite(values).any()]
        if columns:
            panels.append(_panel(curves, steps, columns))
    return panels


def _panel(curves: Curves, steps: Array, columns: list[tuple[str, Array]]) -> Panel:
    window = max(1, len(steps) // 15) if curves.noisy else 1
    smoothed, reference = [smooth(values, window) for _, values in columns], curves.reference
    x = Scale(float(steps[0]), max(float(steps[-1]), float(steps[0]) + 1), LEFT, WIDTH - RIGHT)
    y = Scale(*_range([v for _, v in columns], smoothed, reference), HEIGHT - BOTTOM, TOP)
    lines = [
        Line(
            label,
            raw=path(x, y, *thinned(steps, values)),
            smooth=path(x, y, *thinned(steps, even)),
            values=[finite(float(f"{value:.3g}")) for value in values],
            last=float(even[np.isfinite(even)][-1]),
        )
        for (label, values), even in zip(columns, smoothed, strict=True)
    ]
    mark = (y(reference[0]), reference[1]) if reference and y.low <= reference[0] <= y.high else None
    return Panel(curves.title, curves.hint, lines, x.ticks(4), y.ticks(5), mark)


def smooth(values: Array, window: int) -> Array:
    """Moving mean of the middle half of the `2 * (window // 2) + 1` values around each: a spike leaves no trace.

    There are fewer values at the ends, and gaps (NaN) are left out.
    """
    half, result = window // 2, np.full(len(values), np.nan)
    for index in range(len(values)):
        near = values[max(0, index - half) : index + half + 1]
        near = np.sort(near[np.isfinite(near)])
        if near.size:
            result[index] = near[near.size // 4 : near.size - near.size // 4].mean()
    return result


def thinned(steps: Array, values: Array) -> tuple[Array, Array]:
    """At most `MOST_POINTS` points that keep every bin's extremes, so that no spike disappears."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) <= MOST_POINTS:
        return steps[known], values[known]
    bins = np.array_split(known, MOST_POINTS // 2)
    keep = sorted({int(i) for b in bins for i in (b[values[b].argmin()], b[values[b].argmax()])})
    return steps[keep], values[keep]


def path(x: Scale, y: Scale, steps: Array, values: Array) -> str:
    """The `d` of an SVG path through the points."""
    points = [f"{x(s):g} {y(v):g}" for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
    return "M" + "L".join(points)


def nice_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round values from `low` to `high`, each with its label."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(index * step, tick_label(index * step, step)) for index in range(first, last + 1)]


def tick_label(value: float, step: float) -> str:
    """The value with as many places as the step between ticks needs; powers of ten if tiny or huge."""
    if not value:
        return "0"
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    places += round(step * 10**places, 6) % 1 != 0
    if places <= 4 and abs(value) < 1e5:
        return f"{value:.{places}f}".replace("-", "−")
    digits, power = f"{value:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}".replace("-", "−")


@dataclass(frozen=True)
class Mark:
    """One row of the forest plot: the dot and the ends of its whisker."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Forest:
    """All differences as shares of the base's mean, on one axis. Rows without limits are missing."""

    marks: dict[tuple[str, str], Mark]
    ticks: list[tuple[float, str]]
    zero: float
    width: int = FOREST_WIDTH


def forest(contestants: Mapping[str, Mapping[str, Any]]) -> Forest | None:
    """The forest plot of every contestant against the base; None when there is nothing to draw."""
    found = {}
    for name, metrics in contestants.items():
        for metric, figures in metrics.items():
            limits = relative_limits(figures["difference"]) if figures["difference"] else None
            if limits:
                found[name, metric] = [100 * value for value in limits]
    if not found:
        return None
    ends = [end for limits in found.values() for end in limits] + [0.0]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    axis = Scale(min(ends) - room, max(ends) + room, 8, FOREST_WIDTH - 8)
    marks = {key: Mark(*(axis(value) for value in limits)) for key, limits in found.items()}
    ticks = [
        (at, label if label == "0" else f"{'' if label[0] == '−' else '+'}{label}%") for at, label in axis.ticks(5)
    ]
    return Forest(marks, ticks, axis(0.0))


def _column(log: Sequence[Mapping[str, Any]], key: str) -> Array:
    return np.array([math.nan if (value := finite(line.get(key))) is None else value for line in log])


def _range(raw: list[Array], smoothed: list[Array], reference: tuple[float, str] | None) -> tuple[float, float]:
    """Room for the smoothed curves, 98% of the raw points and, if near, the reference: a spike squashes nothing."""
    values = np.concatenate(raw)
    ends = [*np.nanquantile(values, [0.01, 0.99]), *(v for even in smoothed for v in even[np.isfinite(even)])]
    low, high = float(min(ends)), float(max(ends))
    if reference and low - (high - low) <= reference[0] <= high + (high - low):
        low, high = min(low, reference[0]), max(high, reference[0])
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - room, high + room
