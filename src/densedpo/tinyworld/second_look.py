"""What the second scorer of the tiny world sees in the frames of a clip.

Axes: T frames, H and W pixels, C colour channels, R radii, A bearings, K harmonics, P pixels, D any numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from densedpo.tinyworld.world import COLOURS

Floats = NDArray[np.floating]

RADII = np.arange(0.25, 16.0, 0.5)  # pixels
BEARINGS = 64
HARMONICS = 17  # of the outline, from 0
TEXTURE_HARMONICS = 9  # of the picture around the centre
_FLAT = ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)[:, None, None]  # neighbours within a frame


@dataclass(frozen=True)
class Look:
    """What one pass over the frames finds; without an object, `presence` is 0 and the rest means nothing."""

    presence: Floats  # [T] in [0, 1]
    area: Floats  # [T] pixels
    centre: Floats  # [T, 2] pixels, x then y
    backdrop: Floats  # [T, C] mean colour behind the object
    colour: Floats  # [T, C] median colour of the object
    votes: dict[str, Floats]  # [T] the share of the object's pixels that take it for this colour
    unevenness: Floats  # [T] mean distance of its pixels from the median colour
    sharpness: Floats  # [T] mean gradient along its edges, per pixel
    clutter: Floats  # [T] length of edges elsewhere, pixels at full contrast
    specks: Floats  # [T] share of the pixels elsewhere that are not the backdrop
    spectrum: NDArray[np.complex128]  # [T, K] of the outline's radius over its bearing, pixels
    texture: Floats  # [T, D] blind to place and turn, of length 1 in the middle one of the frames


def inspect(frames_THWC: NDArray[np.uint8]) -> Look:
    """Find the object in every frame of a clip, `[T, H, W, 3]` in 0..255, and measure it."""
    pixels = frames_THWC.astype(np.float32) / np.float32(255)
    plane = _plane(pixels)
    difference = np.sqrt(np.sum((pixels - plane) ** 2, axis=-1))
    contrast = _contrast(difference)
    alpha = np.minimum(difference / np.maximum(contrast, 0.05)[:, None, None], 1)
    body = _main_part(alpha)
    near = ndimage.binary_dilation(body, _FLAT, iterations=2)
    area = body.sum(axis=(1, 2)).astype(float)
    sized = np.clip((area - 10) / 25, 0, 1) * np.clip((1000 - area) / 400, 0, 1)
    colour, unevenness, votes = _colours(pixels, body)
    own = np.where(near, alpha, 0)
    centre = weighted_centre(own)
    spectrum, texture = polar_spectrum(own, centre)
    elsewhere = np.maximum((~near).sum(axis=(1, 2)), 1)
    edges = np.maximum(_slope(np.where(near, 0, difference)) - 0.06, 0)
    return Look(
        presence=np.clip((contrast - 0.10) / 0.15, 0, 1) * sized,
        area=area,
        centre=centre,
        backdrop=plane.mean(axis=(1, 2)),
        colour=colour,
        votes=votes,
        unevenness=unevenness,
        sharpness=edge_sharpness(own),
        clutter=edges.sum(axis=(1, 2)),
        specks=((difference > 0.12) & ~near).sum(axis=(1, 2)) / elsewhere,
        spectrum=spectrum,
        texture=texture,
    )


def _plane(pixels_THWC: Floats) -> Floats:
    """The backdrop [T, H, W, C]: a plane a channel, fitted with Cauchy weights, so that the object has no say."""
    height, width = pixels_THWC.shape[1:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    design_PD = np.stack([np.ones(height * width), x.ravel(), y.ravel()], axis=1).astype(np.float32)
    colours = pixels_THWC.reshape(len(pixels_THWC), -1, 3)
    thin, few = design_PD[::3], colours[:, ::3]
    fitted = np.median(few, axis=1, keepdims=True)
    for _ in range(5):
        weight = 1 / (1 + np.sum((few - fitted) ** 2, axis=2) / 0.05**2)
        weighted = weight[:, :, None] * thin
        normal = np.swapaxes(weighted, 1, 2) @ thin + 1e-4 * np.eye(3, dtype=np.float32)
        solution = np.linalg.solve(normal, np.swapaxes(weighted, 1, 2) @ few)
        fitted = thin @ solution
    return np.asarray((design_PD @ solution).reshape(pixels_THWC.shape))


def _contrast(difference_THW: Floats) -> Floats:
    """How far the object's colour is from the backdrop's, [T], by two classes of pixels split half-way (ISODATA)."""
    flat = difference_THW.reshape(len(difference_THW), -1)
    level = np.quantile(flat, 0.99, axis=1)[:, None] / 2
    for _ in range(5):
        inside = flat > level
        high = (flat * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
        low = (flat * ~inside).sum(axis=1) / np.maximum((~inside).sum(axis=1), 1)
        level = ((high + low) / 2)[:, None]
    top = flat >= high[:, None] - 1e-6  # without the pixels of the edge
    return np.asarray((flat * top).sum(axis=1) / np.maximum(top.sum(axis=1), 1))


def _main_part(alpha_THW: Floats) -> NDArray[np.bool_]:
    """The connected part of each frame that differs most from the backdrop in sum."""
    labels, count = ndimage.label(alpha_THW > 0.5, _FLAT)
    weight = np.asarray(ndimage.sum_labels(alpha_THW, labels, np.arange(count + 1)))
    weight[0] = 0
    frame = np.zeros(count + 1, dtype=int)
    frame[labels] = np.arange(len(labels))[:, None, None]
    order = np.argsort(weight, kind="stable")
    heaviest = np.zeros(len(labels), dtype=int)
    heaviest[frame[order]] = order  # the last assignment stands
    return np.asarray((labels == heaviest[:, None, None]) & (labels > 0))


def _colours(pixels: Floats, body: NDArray[np.bool_]) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Median colour [T, C] of the object, its pixels' mean distance from it [T], and their votes for the palette."""
    core = ndimage.binary_erosion(body, _FLAT)
    core |= body & (core.sum(axis=(1, 2)) < 9)[:, None, None]
    colour, unevenness = np.zeros((len(pixels), 3)), np.zeros(len(pixels))
    votes: dict[str, Floats] = {name: np.zeros(len(pixels)) for name in COLOURS}
    for t, mask in enumerate(core):
        if not mask.any():
            continue
        own_PC = pixels[t][mask]
        colour[t] = np.median(own_PC, axis=0)
        unevenness[t] = np.mean(np.linalg.norm(own_PC - colour[t], axis=1))
        for name, share in palette_share(own_PC, COLOURS, 0.10).items():
            votes[name][t] = share.mean()
    return colour, unevenness, votes


def palette_share(
    colours_PC: Floats, palette: dict[str, tuple[float, float, float]], width: float
) -> dict[str, Floats]:
    """How far each colour is nearer to one of the palette than to the others, [P]; 1 for the colour itself."""
    known = np.array(list(palette.values()))

    def closeness(points_PC: Floats) -> Floats:
        near = np.exp(-np.linalg.norm(points_PC[:, None] - known, axis=2) / width) + 1e-12
        return np.asarray(near / near.sum(axis=1, keepdims=True))

    shares, own = closeness(colours_PC), np.diag(closeness(known))
    return {name: np.minimum(shares[:, i] / own[i], 1) for i, name in enumerate(palette)}


def weighted_centre(own_THW: Floats) -> Floats:
    """Weighted centres, [T, 2] pixels, x then y; the middle where nothing is."""
    height, width = own_THW.shape[1:]
    total = own_THW.sum(axis=(1, 2))
    x = own_THW.sum(axis=1) @ np.arange(width) / np.maximum(total, 1e-6)
    y = own_THW.sum(axis=2) @ np.arange(height) / np.maximum(total, 1e-6)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.where((total > 0.5)[:, None], np.stack([x, y], axis=1), middle)


def _slope(values_THW: Floats) -> Floats:
    down, across = np.gradient(values_THW, axis=(1, 2))
    return np.asarray(np.hypot(down, across))


def edge_sharpness(own_THW: Floats) -> Floats:
    """Sum of squared gradients over sum of gradients, [T]: falls as edges get wider, whatever their length."""
    slope = _slope(own_THW)
    return np.asarray((slope**2).sum(axis=(1, 2)) / np.maximum(slope.sum(axis=(1, 2)), 1e-6))


def polar_spectrum(own_THW: Floats, centre: Floats) -> tuple[NDArray[np.complex128], Floats]:
    """The object around its centre: spectrum of its outline [T, K] (pixels), and texture [T, D]."""
    bearing = 2 * np.pi * np.arange(BEARINGS) / BEARINGS
    shape = (len(own_THW), len(RADII), BEARINGS)
    x = centre[:, 0, None, None] + RADII[:, None] * np.cos(bearing)
    y = centre[:, 1, None, None] + RADII[:, None] * np.sin(bearing)
    t = np.broadcast_to(np.arange(len(own_THW))[:, None, None], shape)
    polar_TRA = ndimage.map_coordinates(own_THW, [t, y, x], order=1)
    radius_TA = polar_TRA.sum(axis=1) * (RADII[1] - RADII[0])
    spectrum = np.fft.rfft(radius_TA, axis=1)[:, :HARMONICS] / BEARINGS
    texture = np.abs(np.fft.rfft(polar_TRA, axis=2))[:, :, :TEXTURE_HARMONICS] * np.sqrt(RADII)[:, None]
    texture = texture.reshape(len(own_THW), -1)
    usual = max(float(np.median(np.linalg.norm(texture, axis=1))), 1e-6)
    return spectrum, texture / usual
