"""Geometry of the charts: numbers in, SVG coordinates out. The templates draw them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from densedpo.svg import Scale

Array = NDArray[np.float64]

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 10, 24


def path(x: Scale, y: Scale, steps: Array, values: Array) -> str:
    """The `d` of an SVG path through the points."""
    points = [f"{x(s):g} {y(v):g}" for s, v in zip(steps, values, strict=True) if np.isfinite(v)]
    return "M" + "L".join(points)
