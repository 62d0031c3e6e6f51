"""Ideal shapes to hold a mask against: where a mask of given centre and area would end if it were well formed.

A mask's moments fix the template all but for a short search: its centroid is the centre of every shape of this world,
its area gives the radius, and the phase of its n-th angular moment gives the turn of a shape with n-fold symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from densedpo.tinyworld.world import SHAPES, signed_distance

Floats = NDArray[np.float32]
SHAPE_NAMES = tuple(SHAPES)
REACH = 14  # pixels from the centre to the border of the window in which shapes are compared
FLOOR = 0.1  # contrast below which a pixel is background; as much is cut off at the top, so edges stay where they are

SYMMETRY = {"circle": 1, "square": 4, "triangle": 3, "star": 5, "cross": 4}
_TABLE_REACH = 3.0  # radii
_TABLE_STEPS = 64  # per radius
_TRIALS = ((1.0, 0.0), (0.96, 0.0), (1.04, 0.0), (1.0, -0.06), (1.0, 0.06))  # radius factor, turn in radians


@dataclass(frozen=True)
class Fit:
    """How well each shape of `SHAPE_NAMES` fits the mask of each frame."""

    error: NDArray[np.float64]  # [S, T] how far the outline is off on average, pixels
    angle: NDArray[np.float64]  # [S, T] turn of the best template, radians, modulo the symmetry


@dataclass(frozen=True)
class _Template:
    table: Floats  # signed distance in radii on a grid of `_TABLE_STEPS` per radius
    area: float  # in squared radii
    perimeter: float  # in radii
    phase: float  # of the angular moment of the upright shape, radians
    symmetry: int


@cache
def _template(shape: str) -> _Template:
    axis = np.arange(-_TABLE_REACH, _TABLE_REACH + 1e-9, 1 / _TABLE_STEPS)
    x, y = np.meshgrid(axis, axis)
    table = signed_distance(shape, x, y, 1.0)
    corners = SHAPES[shape]
    if corners is None:
        return _Template(table.astype(np.float32), np.pi, 2 * np.pi, 0.0, 1)
    ahead = np.roll(corners, -1, axis=0)
    area = 0.5 * abs(float(np.sum(corners[:, 0] * ahead[:, 1] - corners[:, 1] * ahead[:, 0])))
    perimeter = float(np.sum(np.linalg.norm(ahead - corners, axis=1)))
    n = SYMMETRY[shape]
    moment = np.sum((table < 0) * _spiral(x, y, n))
    return _Template(table.astype(np.float32), area, perimeter, float(np.angle(moment)), n)


def _spiral(x: NDArray[np.floating], y: NDArray[np.floating], n: int) -> NDArray[np.complexfloating]:
    """Squared radius times e^(i n angle)."""
    z = x + 1j * y
    size = np.abs(z) + 1e-9
    return np.asarray(z**n / size ** (n - 2))


def fit_shapes(window: Floats, x: Floats, y: Floats) -> Fit:
    """Fit every shape to soft masks.

    Args:
        window: soft masks around their centroids, [T, N], in [0, 1].
        x, y: pixel positions relative to the centroid, [T, N], pixels.
    """
    fits = [_fit_shape(_template(name), window, x, y) for name in SHAPE_NAMES]
    return Fit(np.stack([error for error, _ in fits]), np.stack([angle for _, angle in fits]))


def _fit_shape(
    template: _Template, window: Floats, x: Floats, y: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    area = window.sum(axis=1)
    radius = np.sqrt(np.maximum(area, 1.0) / template.area)
    angle = np.zeros(len(area))
    if template.symmetry > 1:
        moment = np.sum(window * _spiral(x, y, template.symmetry), axis=1)
        angle = (np.angle(moment) - template.phase) / template.symmetry
    best, best_angle = np.full(len(area), -1.0), angle
    for factor, turn in _TRIALS if template.symmetry > 1 else _TRIALS[:3]:
        overlap = _overlap(template, window, x, y, radius * factor, angle + turn)
        best_angle = np.where(overlap > best, angle + turn, best_angle)
        best = np.maximum(best, overlap)
    return (1.0 - best) * radius * template.area / template.perimeter, best_angle


def _overlap(
    template: _Template, window: Floats, x: Floats, y: Floats, radius: NDArray[np.floating], angle: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Soft intersection over union of masks and turned templates, [T]."""
    scale = (_TABLE_STEPS / radius).astype(np.float32)
    cos = (np.cos(angle) * scale).astype(np.float32)[:, None]
    sin = (np.sin(angle) * scale).astype(np.float32)[:, None]
    middle = _TABLE_REACH * _TABLE_STEPS + 0.5
    last = len(template.table) - 1
    column = np.clip(cos * x + sin * y + middle, 0, last).astype(np.int32)
    row = np.clip(cos * y - sin * x + middle, 0, last).astype(np.int32)
    distance = template.table.ravel()[row * (last + 1) + column] * radius.astype(np.float32)[:, None]
    ideal = np.clip(0.5 - distance / np.float32(1 - 2 * FLOOR), 0, 1)
    common = np.minimum(window, ideal).sum(axis=1)
    union = window.sum(axis=1) + ideal.sum(axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-6), dtype=np.float64)
