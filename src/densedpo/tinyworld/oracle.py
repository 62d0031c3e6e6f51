"""Scores of a clip of the tiny world, from its pixels and its caption alone.

- *Visual quality*, frame by frame: the outline's mean distance from the ideal shape in pixels (so a star is held to
  the same standard as a circle; blur, melting, holes and a ghost at the edge all count), an even colour inside, nothing
  else in the picture. A well-formed but wrong shape keeps most of it, for that is the text's business, but only if the
  shape has corners: a round blob where corners were asked for is a melted shape.
- *Text alignment*: the mean over what the caption states of colour, shape, background, direction and spinning. Speed
  words do not count; spinning counts if stated; motion too slow to tell its direction gets the benefit of the doubt.
- *Temporal consistency*: what changes from frame to frame and over 4 frames (area, colours, outline), and jitter and
  leaps of the position. Steady motion, bounces, changes of pace and turning cost nothing.
- *Dynamic degree*: true speed, pixels per frame: the length of the path, unfolded where it bounces. See `follow`.

The first three are products with the object's presence: without an object they are 0. Real renders score about 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from densedpo.tinyworld.templates import SHAPE_NAMES, SYMMETRY
from densedpo.tinyworld.tracking import LAG, Motion, Observation, Series, follow, observe
from densedpo.tinyworld.world import BACKGROUNDS, COLOURS, Attributes, parse_caption

_HEADINGS = {"horizontally": 0.0, "diagonally": 45.0, "vertically": 90.0}  # degrees, signs left out
_MEAN_SHADE = 0.97  # of the background, which darkens from 1.04 to 0.90 towards the bottom
_WRONG_SHAPE = 0.8  # of the quality of a well-formed shape that is not the caption's


@dataclass(frozen=True)
class Scores:
    """Scores of a stretch of frames: three in [0, 1], and the speed in pixels per frame."""

    visual_quality: float
    text_alignment: float
    temporal_consistency: float
    dynamic_degree: float


@dataclass(frozen=True)
class ClipScores:
    """Scores of a whole clip and of its segments.

    `details` says where text alignment comes from: `colour`, `shape`, `background` (means over frames with an object),
    `direction` and `spin` if stated, all in [0, 1], and `empty`, the share of frames without an object.
    """

    whole: Scores
    segments: tuple[Scores, ...]
    details: Mapping[str, float]


def score_clip(frames: NDArray[np.uint8], caption: str, segments: Sequence[tuple[int, int]] = ()) -> ClipScores:
    """Score a clip and each of its segments.

    Args:
        frames: `[T, H, W, 3]` in 0..255, any content.
        caption: a caption of the tiny world.
        segments: (first frame, end frame) of each segment; the end frame is not part of it.

    Raises:
        ValueError: the caption names no colour, shape or background of the world, or a segment is empty.
    """
    asked, seen = parse_caption(caption), observe(frames)
    motion = follow(seen)
    quality, consistency = _quality(asked.shape, seen), _consistency(seen, motion)
    attributes = _attributes(asked, seen)

    def part(first: int, end: int) -> Scores:
        if not 0 <= first < end <= len(quality):
            raise ValueError(f"segment {first}:{end} is no part of a clip of {len(quality)} frames")
        here = slice(first, end)
        presence = float(seen.presence[here].mean())
        stated = [float(np.mean(series[here] * seen.presence[here])) for series in attributes.values()]
        stated += [presence * value for value in _stated_motion(asked, seen, motion, here).values()]
        return Scores(
            visual_quality=float(quality[here].mean()),
            text_alignment=float(np.mean(stated)),
            temporal_consistency=float(consistency[here].mean()),
            dynamic_degree=float(motion.speed[here].mean()),
        )

    everything = slice(0, len(quality))
    weight = np.maximum(seen.presence, 1e-6)
    details = {name: float(np.average(series, weights=weight)) for name, series in attributes.items()}
    details |= _stated_motion(asked, seen, motion, everything)
    details["empty"] = float(np.mean(seen.presence < 0.5))
    return ClipScores(part(0, len(quality)), tuple(part(*segment) for segment in segments), details)


def _quality(shape: str, seen: Observation) -> Series:
    right = SHAPE_NAMES.index(shape)
    form = _decay(seen.fit.error[right], 0.12, 0.5)
    for other, name in enumerate(SHAPE_NAMES):
        if other != right and name != "circle":
            form = np.maximum(form, _WRONG_SHAPE * _decay(seen.fit.error[other], 0.12, 0.12))
    even = _decay(seen.spread, 0.04, 0.15)
    clean = _decay(seen.stray, 1.0, 60.0) * _decay(seen.dirt, 0.03, 0.08)
    return seen.presence * form * even * clean


def _attributes(asked: Attributes, seen: Observation) -> dict[str, Series]:
    """How far colour, shape and background are the caption's, each [T] in [0, 1]."""
    colour = np.linalg.norm(seen.colour - np.array(COLOURS[asked.colour]), axis=1)
    background = np.linalg.norm(seen.background - _MEAN_SHADE * np.array(BACKGROUNDS[asked.background]), axis=1)
    right = SHAPE_NAMES.index(asked.shape)
    margin = np.delete(seen.fit.error, right, axis=0).min(axis=0) - seen.fit.error[right]
    return {
        "colour": _decay(colour, 0.08, 0.12),
        "shape": _ramp(margin, -0.20, 0.25),
        "background": _decay(background, 0.04, 0.06),
    }


def _stated_motion(asked: Attributes, seen: Observation, motion: Motion, here: slice) -> dict[str, float]:
    """How far the frames `here` move and spin as stated, in [0, 1]; nothing about what is not stated."""
    result = {}
    if asked.direction:
        x, y = motion.axes[here].mean(axis=0)
        off = abs(float(np.degrees(np.arctan2(y, x))) - _HEADINGS[asked.direction])
        sure = float(_ramp(np.hypot(x, y), 0.05, 0.20))
        result["direction"] = 1 - sure * float(_ramp(off, 12.0, 30.0))
    if asked.spinning and asked.shape != "circle":  # nobody sees a circle spin
        result["spin"] = float(_ramp(abs(_turning(seen, here)), 0.02, 0.05))
    return result


def _turning(seen: Observation, here: slice) -> float:
    """Median turn of the object from frame to frame, radians; 0 if it is round."""
    drawn = int(np.argmin(seen.fit.error.mean(axis=1)))
    symmetry = SYMMETRY[SHAPE_NAMES[drawn]]
    turned = np.diff(seen.fit.angle[drawn, here]) * symmetry
    if symmetry == 1 or turned.size == 0:
        return 0.0
    return float(np.median(np.angle(np.exp(1j * turned)))) / symmetry


def _consistency(seen: Observation, motion: Motion) -> Series:
    return (
        seen.presence
        * _decay(_change(np.log(seen.area + 5.0)), 0.05, 0.35)
        * _decay(_change(seen.colour), 0.02, 0.25)
        * _decay(_change(seen.background), 0.01, 0.15)
        * _decay(_change(seen.fit.error.T), 0.10, 0.8)
        * _decay(motion.roughness, 0.15, 0.8)
        * _decay(motion.jump, 1.2, 3.0)
    )


def _change(values: NDArray[np.float64]) -> Series:
    """How much values [T] or [T, D] change from frame to frame and over 4 frames: the mean of both, [T]."""
    values = values.reshape(len(values), -1)
    total = np.zeros(len(values))
    for lag in (1, LAG):
        step = np.linalg.norm(values[lag:] - values[:-lag], axis=1)
        nothing = np.zeros(min(lag, len(values)))
        total += np.maximum(np.concatenate([nothing, step]), np.concatenate([step, nothing])) / 2
    return total


def _decay(values: Series, free: float, scale: float) -> Series:
    """1 up to `free`, then falling by a factor e per `scale`."""
    return np.asarray(np.exp(-np.maximum(values - free, 0.0) / scale))


def _ramp(values: Series | float, low: float, high: float) -> Series:
    """From 0 at `low` to 1 at `high`."""
    return np.asarray(np.clip((np.asarray(values) - low) / (high - low), 0.0, 1.0))
