"""Geometry of the charts: numbers in, SVG coordinates out. The templates draw them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 10, 24


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


def path(x: Scale, y: Scale, steps: Array, values: Array) -> str:
    """The `d` of an SVG path through the points."""
    points = [f"{x(s):g} {y(v):g}" for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
    return "M" + "L".join(points)


def nice_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round values from `low` to `high`, each with its label."""
    step = nice_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(index * step, tick_label(index * step, step)) for index in range(first, last + 1)]


def nice_step(low: float, high: float, count: int) -> float:
    """A round number that goes about `count` times into `low..high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    return min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda step: abs(math.log(step / rough)))


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
