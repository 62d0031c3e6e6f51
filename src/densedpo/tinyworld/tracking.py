"""Finding the one object of a clip in its pixels, and following it.

Nothing here knows the caption: the background is what most of a row shows, the object is what differs from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from densedpo.tinyworld.templates import FLOOR, REACH, Fit, Floats, fit_shapes

Series = NDArray[np.float64]  # [T], one number a frame

LAG = 4  # frames over which displacement is measured
SMOOTHING = 5  # frames over which positions are averaged before; LAG + 1, so that two averages share one frame
_PLANE = np.zeros((3, 3, 3), dtype=bool)  # neighbours within a frame, not across frames
_PLANE[1] = True


@dataclass(frozen=True)
class Observation:
    """What the pixels of a clip show, frame by frame (T frames)."""

    background: NDArray[np.float64]  # [T, 3] mean colour of the background, 0..1
    colour: NDArray[np.float64]  # [T, 3] mean colour inside the object, 0..1
    presence: Series  # 0 no object, 1 an object that stands out and has a plausible size
    area: Series  # pixels
    centre: NDArray[np.float64]  # [T, 2] pixels, x then y
    spread: Series  # standard deviation of the colour inside the object
    stray: Series  # area of what differs from the background elsewhere, pixels
    dirt: Series  # mean difference from a plain background elsewhere
    fit: Fit


@dataclass(frozen=True)
class Motion:
    """How the object moves (T frames)."""

    speed: Series  # pixels per frame
    axes: NDArray[np.float64]  # [T, 2] the same along x and y
    roughness: Series  # standard deviation of the position around its path, pixels
    jump: Series  # how much longer a step to or from this frame is than the steps around it, pixels


def observe(frames: NDArray[np.uint8]) -> Observation:
    """Find the object in every frame of a clip, `[T, H, W, 3]` in 0..255."""
    pixels: Floats = frames.astype(np.float32) / np.float32(255)
    background, backdrop = _background(frames)
    difference = np.sqrt(np.sum((pixels - backdrop[:, :, None]) ** 2, axis=-1))  # [T, H, W]
    contrast = _contrast(difference)
    alpha = np.clip((difference / np.maximum(contrast, 0.05)[:, None, None] - FLOOR) / (1 - 2 * FLOOR), 0, 1)
    body = _largest(alpha > 0.5)
    near = ndimage.binary_dilation(body, _PLANE, iterations=2)
    mask = alpha * near
    area = mask.sum(axis=(1, 2))
    centre = _centroid(mask, area)
    colour, spread = _colour(pixels, body)
    outside = np.maximum((~near).sum(axis=(1, 2)), 1)
    return Observation(
        background=background,
        colour=colour,
        presence=_presence(contrast, area),
        area=area.astype(np.float64),
        centre=centre,
        spread=spread,
        stray=np.asarray((np.maximum(alpha - 0.2, 0) / 0.8 * ~near).sum(axis=(1, 2)), dtype=np.float64),
        dirt=np.asarray((difference * ~near).sum(axis=(1, 2)) / outside, dtype=np.float64),
        fit=fit_shapes(*_windows(mask, centre)),
    )


def _background(frames: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Floats]:
    """Mean background colour [T, 3], and the background of every row [T, H, 3]: the line through the rows' medians."""
    half = frames.shape[2] // 2
    medians = np.partition(frames, half, axis=2)[:, :, half].astype(np.float64) / 255
    rows = np.linspace(-1, 1, frames.shape[1])
    level = medians.mean(axis=1)
    slope = np.einsum("thc,h->tc", medians, rows) / np.sum(rows**2)
    return level, (level[:, None] + slope[:, None] * rows[:, None]).astype(np.float32)


def _contrast(difference: Floats) -> Floats:
    """How far the object's colour is from the background, [T]: the 40th largest difference; any object is larger."""
    flat = difference.reshape(len(difference), -1)
    rank = max(flat.shape[1] - 40, 0)
    return np.asarray(np.partition(flat, rank, axis=1)[:, rank])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of the mask of each frame."""
    labels, count = ndimage.label(mask, _PLANE)
    flat = labels.reshape(len(mask), -1)
    sizes = np.bincount(flat.ravel(), minlength=count + 1)
    sizes[0] = 0
    chosen = np.take_along_axis(flat, sizes[flat].argmax(axis=1)[:, None], axis=1)
    return np.asarray(mask & (labels == chosen[:, :, None]))


def _centroid(mask: Floats, area: Floats) -> NDArray[np.float64]:
    """Centres of soft masks, [T, 2] pixels; the middle of the frame where a mask is empty."""
    height, width = mask.shape[1:]
    weight = np.maximum(area, 1e-6)
    x = mask.sum(axis=1) @ (np.arange(width) + 0.5) / weight
    y = mask.sum(axis=2) @ (np.arange(height) + 0.5) / weight
    found = (area > 0.5)[:, None]
    return np.where(found, np.stack([x, y], axis=1), np.array([width / 2, height / 2]))


def _colour(pixels: Floats, body: NDArray[np.bool_]) -> tuple[NDArray[np.float64], Series]:
    """Mean colour [T, 3] and its spread [T] inside the object, a pixel away from its edge where it is thick enough."""
    inner = ndimage.binary_erosion(body, _PLANE)
    thin = inner.sum(axis=(1, 2)) < 9
    inner = np.where(thin[:, None, None], body, inner)
    count = np.maximum(inner.sum(axis=(1, 2)), 1)[:, None]
    mean = np.einsum("thwc,thw->tc", pixels, inner.astype(np.float32)) / count
    square = np.einsum("thwc,thw->tc", pixels**2, inner.astype(np.float32)) / count
    return mean.astype(np.float64), np.sqrt(np.maximum(square - mean**2, 0).sum(axis=1)).astype(np.float64)


def _presence(contrast: Floats, area: Floats) -> Series:
    visible = np.clip((contrast - 0.10) / 0.15, 0, 1)
    radius = np.sqrt(area / np.pi)
    sized = np.clip((radius - 2.0) / 1.5, 0, 1) * np.clip((18.0 - radius) / 5.0, 0, 1)
    return np.asarray(visible * sized, dtype=np.float64)


def _windows(mask: Floats, centre: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
    """Masks cut out around their centres, and pixel positions relative to the centres, each [T, N]."""
    offset = np.arange(-REACH, REACH + 1)
    corner = np.floor(centre).astype(int)
    padded = np.pad(mask, ((0, 0), (REACH, REACH), (REACH, REACH)))
    rows = corner[:, 1, None, None] + offset[:, None] + REACH
    columns = corner[:, 0, None, None] + offset[None, :] + REACH
    cut = padded[np.arange(len(mask))[:, None, None], rows, columns]
    position = (corner - centre + 0.5).astype(np.float32)
    x = np.broadcast_to(position[:, 0, None, None] + offset.astype(np.float32)[None, :], cut.shape)
    y = np.broadcast_to(position[:, 1, None, None] + offset.astype(np.float32)[:, None], cut.shape)
    flat = (len(cut), -1)
    return cut.reshape(flat), x.reshape(flat), y.reshape(flat)


def follow(seen: Observation) -> Motion:
    """Measure motion as the length of the path, robustly.

    The position is interpolated where the object is missing, of another size, or elsewhere for a single frame. The path
    is unfolded where it bounces, so that a displacement over 4 frames divided by 4 is the true speed and not the chord
    of a corner; positions are averaged over 5 frames, and twice what their scatter still explains is taken off.
    """
    count = len(seen.presence)
    path = _confident_path(seen)
    jump = _jumps(np.linalg.norm(np.diff(seen.centre, axis=0), axis=1))
    if count <= LAG:
        zero = np.zeros(count)
        return Motion(zero, np.zeros((count, 2)), zero, zero)
    straight = np.stack([_unfold(path[:, axis]) for axis in (0, 1)], axis=1)
    travelled = np.concatenate([np.zeros((1, 2)), np.cumsum(straight, axis=0)])
    scatter = np.stack([_scatter(travelled[:, axis]) for axis in (0, 1)], axis=1)  # [T, 2]
    smooth = ndimage.uniform_filter1d(_extended(travelled), SMOOTHING, axis=0)[LAG:-LAG]
    chords = np.abs(smooth[LAG:] - smooth[:-LAG]) / LAG
    explained = (
        2 * LAG / SMOOTHING**2 * np.mean(scatter**2, axis=0) / LAG**2
    )  # [2] of a squared chord, by scatter alone
    power = np.maximum(np.mean(chords**2, axis=0), 1e-12)
    chords *= np.sqrt(np.maximum(1.0 - 2.0 * explained / power, 0.0))
    axes = np.pad(chords, ((LAG // 2, LAG - LAG // 2), (0, 0)), mode="edge")
    return Motion(np.hypot(axes[:, 0], axes[:, 1]), axes, np.hypot(scatter[:, 0], scatter[:, 1]), _to_frames(jump))


def _extended(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path with LAG more points at both ends, which go on as straight as the path is there."""
    return np.pad(path, ((LAG, LAG), (0, 0)), mode="reflect", reflect_type="odd")


def _confident_path(seen: Observation) -> NDArray[np.float64]:
    """Centres [T, 2], interpolated over frames that cannot be trusted; a single point if hardly any can."""
    good = seen.presence > 0.5
    if good.sum() < 3:
        return np.tile(seen.centre[:1], (len(good), 1))
    ratio = seen.area / np.median(seen.area[good])
    good &= (ratio > 0.5) & (ratio < 2.0)
    longer = np.concatenate([[0.0], _jumps(np.linalg.norm(np.diff(seen.centre, axis=0), axis=1)), [0.0]])
    good &= np.minimum(longer[:-1], longer[1:]) < 2.0
    known = np.flatnonzero(good)
    if len(known) < 3:
        return np.tile(seen.centre[:1], (len(good), 1))
    return np.stack([np.interp(np.arange(len(good)), known, seen.centre[known, axis]) for axis in (0, 1)], axis=1)


def _jumps(steps: Series) -> Series:
    """How much longer each step is than the second longest of its six neighbours; a bounce only shortens steps."""
    if len(steps) < 4:
        return np.zeros(len(steps))
    padded = np.pad(steps, 3, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 7)[:, [0, 1, 2, 4, 5, 6]]
    return np.asarray(np.maximum(steps - np.sort(around, axis=1)[:, 4], 0))


def _to_frames(steps: Series) -> Series:
    """From one number a step to one a frame: the larger of the steps before and after."""
    padded = np.concatenate([[0.0], steps, [0.0]])
    return np.asarray(np.maximum(padded[:-1], padded[1:]))


def _scatter(path: Series, rank: int = 3) -> Series:
    """Standard deviation of positions around a smooth path, [T].

    From second differences, of which the median of 7 neighbouring ones counts (`rank` 3), or with bounces the third
    smallest (`rank` 2): a bounce spoils two of them, and the fastest object meets a wall every fifth frame.
    """
    bend = np.abs(np.diff(path, n=2))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(bend, 4, mode="symmetric"), 7)
    return np.asarray(np.sort(around, axis=1)[:, rank] / {2: 1.2, 3: 1.65}[rank])


def _unfold(path: Series) -> Series:
    """Steps of a path along one axis as if no wall had turned them back.

    The steps before and after a bounce point in opposite directions, by more than chance; of neighbouring candidates
    the shortest step is the one that met the wall, and it gets the length of the steps around it.
    """
    steps = np.diff(path)
    chance = 3 * float(np.median(_scatter(path, rank=2))) + 0.05
    padded = np.pad(steps, 2, mode="edge")
    before, after = (padded[:-4] + padded[1:-3]) / 2, (padded[3:-1] + padded[4:]) / 2
    clear = np.minimum(np.abs(before), np.abs(after)) > chance
    candidate = clear & (before * after < 0) & (padded[1:-3] * padded[3:-1] < 0)
    length = np.abs(steps)
    usual = ndimage.median_filter(length, 3, mode="nearest")
    result, direction, last = np.empty_like(steps), 1.0, -2
    for t in range(len(steps)):
        ahead = candidate[t + 1] and length[t + 1] < length[t] if t + 1 < len(steps) else False
        if candidate[t] and not ahead and t > last + 1:
            result[t] = direction * np.sign(before[t]) * usual[t]
            direction, last = -direction, t
        else:
            result[t] = direction * steps[t]
    return result
