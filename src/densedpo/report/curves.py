"""The curves of a training log: small charts with a bounded number of points, however long the run was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Array, path
from densedpo.report.runs import finite
from densedpo.svg import Scale

MOST_POINTS = 360  # of a curve, one for each unit of the width; beyond, bins keep their lowest and highest point
READOUT_POINTS = 400  # steps that a pointer over a curve can tell apart

Row = Mapping[str, Any]  # a line of log.jsonl


@dataclass(frozen=True)
class Line:
    """One curve: the raw values faint, the smoothed ones on top, and the values at the readout's steps."""

    label: str
    raw: str
    smooth: str
    values: list[float | None]
    last: float


@dataclass(frozen=True)
class Panel:
    """One small chart. `alarms` are the places of the steps at which the guard spoke up."""

    title: str
    hint: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    reference: tuple[float, str] | None
    alarms: list[float]


@dataclass(frozen=True)
class Curves:
    """What one panel shows: (log key, label) of each curve, and a reference value with its name."""

    title: str
    hint: str
    keys: tuple[tuple[str, str], ...] = ()
    reference: tuple[float, str] | None = None
    raw: bool = True
    window: int = 15  # the moving mean is over this part of the steps


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
NOISE_PANELS: tuple[tuple[Curves, Callable[[Row], float]], ...] = (
    (
        Curves("Accuracy by noise level", "share of frames ranked as labelled", (), (0.5, "chance"), False, 6),
        lambda seen: float(seen["accuracy"]),
    ),
    (
        Curves("Gap by noise level", "loser’s error minus winner’s: up is right", (), (0.0, ""), False, 6),
        lambda seen: float(seen["loser_delta"]) - float(seen["winner_delta"]),
    ),
)


def training_panels(log: Sequence[Row], readout: Sequence[int]) -> list[Panel]:
    """One panel for every curve the log holds; `readout` are the rows whose values a pointer can ask for."""
    alarms = [line["step"] for line in log if line.get("alarms")]
    return [
        panel
        for curves in PANELS
        if (panel := _panel(curves, log, [(label, column(log, key)) for key, label in curves.keys], readout, alarms))
    ]


def noise_panels(log: Sequence[Row], readout: Sequence[int]) -> list[Panel]:
    """The curves of each fifth of the noise levels; none if the log does not tell them apart."""
    levels = sorted({name for line in log for name in line.get("by_sigma", {})})
    panels = []
    for curves, value_of in NOISE_PANELS:
        columns = [
            (f"{level} to {float(level) + 0.2:.1f}", np.array([_of_level(line, level, value_of) for line in log]))
            for level in levels
        ]
        if panel := _panel(curves, log, columns, readout, ()):
            panels.append(panel)
    return panels


def readout_rows(count: int) -> list[int]:
    """Which of `count` steps a pointer over a curve can tell apart, the last one among them."""
    return [int(row) for row in spread(count, READOUT_POINTS)]


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the indices below `count`, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))


def column(log: Sequence[Row], key: str) -> Array:
    """The values of one key, NaN where there is none."""
    return np.array([math.nan if (value := finite(line.get(key))) is None else value for line in log])


def smooth(values: Array, window: int, places: NDArray[np.int64] | None = None) -> Array:
    """Moving mean of the middle half of the `2 * (window // 2) + 1` values around each: a spike leaves no trace.

    There are fewer values at the ends, and gaps (NaN) are left out. `places` are the indices wanted (None: all).
    """
    wanted = np.arange(len(values)) if places is None else places
    half, result = window // 2, np.full(len(wanted), np.nan)
    for index, place in enumerate(wanted):
        near = values[max(0, place - half) : place + half + 1]
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


def _panel(
    curves: Curves,
    log: Sequence[Row],
    columns: list[tuple[str, Array]],
    readout: Sequence[int],
    alarms: Sequence[float],
) -> Panel | None:
    """The chart of the columns that hold a number; None without any."""
    columns = [(label, values) for label, values in columns if np.isfinite(values).any()]
    if not columns:
        return None
    steps = np.array([line["step"] for line in log], dtype=np.float64)
    window, places = max(1, len(steps) // curves.window), spread(len(steps), MOST_POINTS)
    smoothed, reference = [smooth(values, window, places) for _, values in columns], curves.reference
    x = Scale(float(steps[0]), max(float(steps[-1]), float(steps[0]) + 1), LEFT, WIDTH - RIGHT)
    y = Scale(*_range([v for _, v in columns] if curves.raw else smoothed, smoothed, reference), HEIGHT - BOTTOM, TOP)
    lines = [
        Line(
            label,
            raw=path(x, y, *thinned(steps, values)) if curves.raw else "",
            smooth=path(x, y, steps[places], even),
            values=[finite(float(f"{value:.3g}")) for value in _latest(values)[list(readout)]],
            last=float(even[np.isfinite(even)][-1]),
        )
        for (label, values), even in zip(columns, smoothed, strict=True)
    ]
    mark = (y(reference[0]), reference[1]) if reference and y.low <= reference[0] <= y.high else None
    return Panel(curves.title, curves.hint, lines, x.ticks(4), y.ticks(5), mark, [x(step) for step in alarms])


def _latest(values: Array) -> Array:
    """Each value, or the latest before it: validation is not done at every step."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.where(last >= 0, values[last], math.nan)


def _of_level(line: Row, level: str, value_of: Callable[[Row], float]) -> float:
    seen = line.get("by_sigma", {}).get(level)
    return math.nan if seen is None else value_of(seen)


def _range(shown: list[Array], smoothed: list[Array], reference: tuple[float, str] | None) -> tuple[float, float]:
    """Room for the smoothed curves, 98% of the raw points and, if near, the reference: a spike squashes nothing."""
    values = np.concatenate(shown)
    ends = [*np.nanquantile(values, [0.01, 0.99]), *(v for even in smoothed for v in even[np.isfinite(even)])]
    low, high = float(min(ends)), float(max(ends))
    if reference and low - (high - low) <= reference[0] <= high + (high - low):
        low, high = min(low, reference[0]), max(high, reference[0])
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - room, high + room
