"""A second opinion on clips of the tiny world, from other features than the oracle's: for evaluation, never for labels.

A gain that only the oracle sees may be one that a model learned from its blind spots. This scorer answers the same four
questions and shares neither code nor features with it; only the palette and the shapes' corner lists are common.

- The backdrop is a plane through the colours of a frame, fitted robustly; the object is the connected part that differs
  most, and its centre is weighted by how much its pixels differ.
- *Visual quality*: the Fourier magnitudes of the outline's radius over its bearing, against those of drawn shapes; the
  sharpness of edges from gradients; how far pixels inside are from their median colour; edges and specks elsewhere.
- *Text alignment*: each pixel of the object votes for a colour of the palette, each outline for a shape; the direction
  is that of the unfolded path, turning is what best lays one outline over the next.
- *Temporal consistency*: how the Fourier magnitudes of the picture around the centre, blind to place and turn, differ
  between frames, how colours do, and trembling and leaps across the path, where changes of pace do not show.
- *Dynamic degree*: how far the unfolded path leads, in pixels per frame.

Axes: T frames, H and W pixels, C colour channels, K harmonics, S shapes, D any numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, signal

from densedpo.tinyworld.second_look import (
    HARMONICS,
    Floats,
    Look,
    edge_sharpness,
    inspect,
    palette_share,
    polar_spectrum,
    weighted_centre,
)
from densedpo.tinyworld.world import BACKGROUNDS, SHAPES, Attributes, parse_caption

NAMES = tuple(SHAPES)
WRONG_SHAPE = 0.8  # of the quality of a well-formed shape with corners that is not the caption's


@dataclass(frozen=True)
class SecondScores:
    """Scores of a clip: three in [0, 1], and the speed in pixels per frame."""

    visual_quality: float
    text_alignment: float
    temporal_consistency: float
    dynamic_degree: float


@dataclass(frozen=True)
class _Path:
    """The way of the object as if no wall had turned it back."""

    speed: float  # pixels per frame
    direction: Floats  # [2] of length 1, without signs
    trembling: Floats  # [T] pixels, across the path
    leap: Floats  # [T] pixels, across the path


def second_score(frames_THWC: NDArray[np.uint8], caption: str) -> SecondScores:
    """Score a clip, `[T, H, W, 3]` in 0..255, for a caption of the tiny world.

    Raises:
        ValueError: the caption names no colour, shape or background of the world.
    """
    asked, look = parse_caption(caption), inspect(frames_THWC)
    path = _path(look)
    errors_ST = _outline_errors(look)
    stated = _stated(asked, look, path, errors_ST)
    return SecondScores(
        visual_quality=float(np.mean(_quality(asked.shape, look, errors_ST))),
        text_alignment=float(np.mean(stated)),
        temporal_consistency=float(np.mean(_consistency(look, path))),
        dynamic_degree=path.speed,
    )


def _quality(shape: str, look: Look, errors_ST: Floats) -> Floats:
    right = NAMES.index(shape)
    ideal = _references()
    form = _fall(errors_ST[right] / ideal.slant[right], 0.12, 0.8)
    for other, name in enumerate(NAMES):
        if other != right and name != "circle":
            form = np.maximum(form, WRONG_SHAPE * _fall(errors_ST[other] / ideal.slant[other], 0.12, 0.15))
    blur = 1 / (2 * np.sqrt(np.pi) * np.maximum(look.sharpness, 1e-2))  # standard deviation of a Gaussian edge, pixels
    clean = _fall(look.clutter, 1.0, 25.0) * _fall(look.specks, 0.005, 0.10)
    return look.presence * form * _fall(blur, ideal.blur, 0.8) * _fall(look.unevenness, 0.03, 0.15) * clean


def _stated(asked: Attributes, look: Look, path: _Path, errors_ST: Floats) -> list[float]:
    """How far each thing that the caption says holds, in [0, 1]; an absent object does nothing as told."""
    shape = _shape_share(errors_ST)[NAMES.index(asked.shape)]
    stated = [look.votes[asked.colour], shape, palette_share(look.backdrop, _shaded(), 0.05)[asked.background]]
    result = [float(np.mean(look.presence * series)) for series in stated]
    presence = float(np.mean(look.presence))
    if asked.direction:
        told = {"horizontally": 0.0, "diagonally": 45.0, "vertically": 90.0}[asked.direction]
        off = abs(float(np.degrees(np.arctan2(path.direction[1], path.direction[0]))) - told)
        moving = np.clip((path.speed - 0.05) / 0.15, 0, 1)  # too slow to tell: the benefit of the doubt
        result.append(presence * float(1 - moving * np.clip((off - 12) / 18, 0, 1)))
    if asked.spinning and asked.shape != "circle":
        result.append(presence * float(np.clip((_turning(look.spectrum) - 0.02) / 0.03, 0, 1)))
    return result


def _shape_share(errors_ST: Floats) -> Floats:
    """How far each outline is nearer to one shape than to the others, [S, T]; 1 for the shape itself."""
    ideal = _references()
    apart_SS = 8.0 * np.linalg.norm(ideal.harmonics[:, None] - ideal.harmonics, axis=2)  # of one size, pixels

    def closeness(errors: Floats) -> Floats:
        near = np.exp(-errors / ideal.slant[:, None] / 0.2) + 1e-12
        return np.asarray(near / near.sum(axis=0))

    return np.minimum(closeness(errors_ST) / np.diag(closeness(apart_SS))[:, None], 1)


def _consistency(look: Look, path: _Path) -> Floats:
    return (
        look.presence
        * _fall(_changes(look.texture), 0.05, 0.4)
        * _fall(_changes(look.colour), 0.03, 0.2)
        * _fall(_changes(look.backdrop), 0.01, 0.12)
        * _fall(path.trembling, 0.12, 0.6)
        * _fall(path.leap, 2.0, 2.5)
    )


def _fall(values: Floats, free: float, scale: float) -> Floats:
    """1 up to `free`, then falling by a factor e per `scale`."""
    return np.exp((free - np.maximum(values, free)) / scale)


def _changes(values_TD: Floats) -> Floats:
    """Mean distance of every frame from those 1 and 3 frames before and after it, [T]."""
    count, total = len(values_TD), np.zeros(len(values_TD))
    met = np.zeros(count)
    for lag in (1, 3):
        step = np.linalg.norm(values_TD[lag:] - values_TD[:-lag], axis=1)
        for frames in (slice(lag, count), slice(0, max(count - lag, 0))):
            total[frames] += step
            met[frames] += 1
    return total / np.maximum(met, 1)


@cache
def _shaded() -> dict[str, tuple[float, float, float]]:
    """The backgrounds as they are drawn on average: they darken from 1.04 to 0.90 of their colour."""
    return {name: (0.97 * red, 0.97 * green, 0.97 * blue) for name, (red, green, blue) in BACKGROUNDS.items()}


def _relative(spectrum: NDArray[np.complex128]) -> Floats:
    """Magnitudes of an outline's harmonics, [T, K], such that their squares add up to the square of the radius."""
    twice = np.where(np.arange(HARMONICS) > 0, np.sqrt(2), 1)
    return np.abs(spectrum) * twice


def _outline_errors(look: Look) -> Floats:
    """How far the outline's harmonics are from those of each shape of its size, [S, T], root mean square in pixels."""
    magnitudes_TK = _relative(look.spectrum)
    size_T = np.linalg.norm(magnitudes_TK, axis=1)
    ideals_SK = _references().harmonics
    return np.stack([np.linalg.norm(magnitudes_TK - size_T[:, None] * ideal, axis=1) for ideal in ideals_SK])


@dataclass(frozen=True)
class _References:
    """What well-drawn shapes measure."""

    harmonics: Floats  # [S, K] at size 1
    slant: Floats  # [S] outline over circumference at equal area: how many times a radius is off where an edge is by 1
    blur: float  # of the softest edges, pixels


@cache
def _references() -> _References:
    draws = np.random.default_rng(0)
    low, high = (6.5, 22.5, 22.5, 0.0), (8.5, 24.5, 24.5, 6.3)
    harmonics, slant, sharpness = [], [], []
    for name in NAMES:
        drawn = np.stack([_drawn(name, *draws.uniform(low, high)) for _ in range(24)])
        magnitudes = _relative(polar_spectrum(drawn, weighted_centre(drawn))[0])
        mean = np.mean(magnitudes / np.linalg.norm(magnitudes, axis=1, keepdims=True), axis=0)
        harmonics.append(mean / np.linalg.norm(mean))
        sharpness.append(edge_sharpness(drawn).min())
        slant.append(_slant(_corners(name)))
    return _References(np.stack(harmonics), np.array(slant), 1 / (2 * np.sqrt(np.pi) * min(sharpness)))


def _corners(name: str) -> Floats:
    """Of a shape of radius 1; a circle has 90."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    corners = SHAPES[name]
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) if corners is None else corners


def _slant(corners: Floats) -> float:
    edges = np.roll(corners, -1, axis=0) - corners
    area = abs(np.sum(corners[:, 0] * edges[:, 1] - corners[:, 1] * edges[:, 0])) / 2
    return float(np.sum(np.hypot(edges[:, 0], edges[:, 1])) / (2 * np.sqrt(np.pi * area)))


def _drawn(name: str, radius: float, x: float, y: float, turn: float) -> Floats:
    """A shape drawn eight times too large and shrunk, [48, 48] in [0, 1]."""
    fine, canvas = 8, Image.new("L", (384, 384))
    cos, sin = np.cos(turn), np.sin(turn)
    turned = _corners(name) @ np.array([[cos, sin], [-sin, cos]]) * radius + (x, y)
    ImageDraw.Draw(canvas).polygon([(float(a), float(b)) for a, b in turned * fine], fill=255)
    return np.asarray(np.asarray(canvas, dtype=float).reshape(48, fine, 48, fine).mean(axis=(1, 3)) / 255)


def _turning(spectrum: NDArray[np.complex128]) -> float:
    """Median turn from frame to frame, radians, by which each outline fits the next best; 0 for round ones."""
    outline = spectrum.copy()
    outline[:, :2] = 0  # its size, and the centre
    if len(outline) < 2:
        return 0.0
    match = np.fft.irfft(np.conj(outline[:-1]) * outline[1:], 1024, axis=1)
    bins = np.arange(-100, 101)  # a tenth of a turn: half the symmetry of a star
    turn = bins[match[:, bins].argmax(axis=1)] * 2 * np.pi / 1024
    corners = np.median(np.linalg.norm(outline, axis=1) / np.maximum(np.abs(spectrum[:, 0]), 1e-6))
    return float(abs(np.median(turn)) * np.clip((corners - 0.015) / 0.02, 0, 1))


def _path(look: Look) -> _Path:
    count = len(look.presence)
    still = _Path(0.0, np.array([1.0, 0.0]), np.zeros(count), np.zeros(count))
    known = np.flatnonzero(_trusted(look))
    if count < 5 or len(known) < 3:
        return still
    place = np.stack([np.interp(np.arange(count), known, look.centre[known, axis]) for axis in (0, 1)], axis=1)
    straight = np.cumsum(np.stack([_unfolded(place[:, axis]) for axis in (0, 1)], axis=1), axis=0)
    way = (straight[-1] + straight[-2] - straight[0] - straight[1]) / 2
    length = float(np.linalg.norm(way))
    if length < 1e-6:
        return still
    across = straight @ np.array([-way[1], way[0]]) / length
    bend = np.abs(np.diff(across, n=2))
    steady = ndimage.rank_filter(bend, 2, 7, mode="mirror")  # the third smallest of 7: a bounce spoils two
    trembling = np.pad(steady, 1, mode="edge") / (0.489 * np.sqrt(6))
    step = np.abs(np.diff(across))
    leap = np.maximum(np.append(step, 0), np.append(0, step))
    return _Path(length / (count - 2), np.abs(way) / length, trembling, leap)


def _trusted(look: Look) -> NDArray[np.bool_]:
    """Frames whose object is there, as large as usual, and not far from both its neighbours."""
    seen = look.presence > 0.5
    if not seen.any():
        return seen
    ratio = look.area / np.median(look.area[seen])
    step = np.linalg.norm(np.diff(look.centre, axis=0), axis=1)
    alone = np.minimum(np.append(step, np.inf), np.append(np.inf, step)) > 8
    return np.asarray(seen & (ratio > 0.5) & (ratio < 2) & ~alone)


def _unfolded(place: Floats) -> Floats:
    """Steps [T], the first 0, of a path along one axis with its turns at walls undone.

    A turn is an extreme that stands out from the noise. Of the two steps at it, the shorter met the wall, and its
    length becomes that of the steps around it.
    """
    noise = np.quantile(np.abs(np.diff(place, n=2)), 0.25) / (0.3186 * np.sqrt(6))
    prominence = max(0.3, 7 * noise)
    turns = np.concatenate([signal.find_peaks(side * place, prominence=prominence)[0] for side in (1, -1)])
    steps = np.diff(place)
    flips = np.zeros(len(steps) + 1, dtype=int)
    flips[turns] = 1
    straight = steps * (-1.0) ** np.cumsum(flips)[:-1]
    result = straight.copy()
    for turn in turns:
        met = turn - 1 if abs(steps[turn - 1]) < abs(steps[turn]) else turn
        around = [straight[i] for i in (met - 1, met + 1) if 0 <= i < len(steps)]
        result[met] = np.mean(around)
    return np.concatenate([[0.0], result])
