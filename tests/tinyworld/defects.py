"""Defects planted into scenes, each as strong as asked: what a small diffusion model does wrong, and worse, on purpose.

Every function takes a scene and a strength (0: none) and returns frames `[T, H, W, 3]` in 0..255.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from densedpo.tinyworld import world
from densedpo.tinyworld.world import BACKGROUNDS, COLOURS, Scene, coverage, draw_scene, render, sample_scene

Frames = NDArray[np.uint8]


@contextmanager
def more_speed() -> Iterator[None]:
    """Scenes move at 0.08 to 2 pixels a frame: the scorers are held to more speed than the world has."""
    with mock.patch.multiple(world, SPEED_RANGE=(0.08, 2.0), MAX_SPEED=2.0):
        yield


def any_scene(seed: int, item: int) -> Scene:
    """A faster scene of a caption of the world; every other one spins, as no caption of the model's training does."""
    with more_speed():
        scene = draw_scene(seed, item)
        if item % 2 == 0:
            return scene
        return sample_scene(np.random.default_rng([seed, item]), dataclasses.replace(scene.attributes, spinning=True))


def paint(scene: Scene, alpha: NDArray[np.float64], colour: NDArray[np.float64] | None = None) -> Frames:
    """Frames with the scene's colours and the object where `alpha` [T, H, W] says."""
    size = alpha.shape[1]
    shade = np.linspace(1.04, 0.90, size)[:, None, None]
    background = np.clip(np.array(BACKGROUNDS[scene.attributes.background]) * shade, 0, 1)
    object_colour = np.array(COLOURS[scene.attributes.colour]) if colour is None else colour
    image = alpha[..., None] * object_colour + (1 - alpha[..., None]) * background
    return to_bytes(image)


def to_bytes(image: NDArray[np.float64]) -> Frames:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def draws(scene: Scene) -> np.random.Generator:
    """Random numbers that depend on the scene only, so that strengths differ in strength alone."""
    return np.random.default_rng(int(scene.radius * 1e6))


def melted(scene: Scene, strength: float) -> Frames:
    """Corners rounded off, edge still sharp."""
    soft = ndimage.gaussian_filter(coverage(scene), (0, 4 * strength, 4 * strength)) if strength else coverage(scene)
    return paint(scene, np.clip(0.5 + (soft - 0.5) * (1 + 4 * strength), 0, 1))


def blurred(scene: Scene, strength: float) -> Frames:
    return to_bytes(ndimage.gaussian_filter(render(scene) / 255, (0, 3 * strength, 3 * strength, 0)))


def bled(scene: Scene, strength: float) -> Frames:
    """One half of the object takes on another colour."""
    own = np.array(COLOURS[scene.attributes.colour])
    left = np.arange(48) < scene.centres[:, 0, None]
    share = strength * left[:, None, :, None]
    return paint(scene, coverage(scene), (1 - share) * own + share * other_colour(scene))


def other_colour(scene: Scene) -> NDArray[np.float64]:
    names = list(COLOURS)
    return np.array(COLOURS[names[(names.index(scene.attributes.colour) + 2) % len(names)]])


def recoloured(scene: Scene, strength: float) -> Frames:
    own = np.array(COLOURS[scene.attributes.colour])
    return paint(scene, coverage(scene), (1 - strength) * own + strength * other_colour(scene))


def vanished(scene: Scene, strength: float) -> Frames:
    """No object in the last frames, `strength` of all."""
    alpha = coverage(scene)
    alpha[len(alpha) - round(strength * len(alpha)) :] = 0
    return paint(scene, alpha)


def popping(scene: Scene, strength: float) -> Frames:
    """No object in single frames here and there, up to every third."""
    alpha = coverage(scene)
    inner = np.arange(2, len(alpha) - 1, 3)
    alpha[draws(scene).permutation(inner)[: round(strength * len(inner))]] = 0
    return paint(scene, alpha)


def flickering(scene: Scene, strength: float) -> Frames:
    """Brightness changes from frame to frame."""
    gain = 1 + strength * draws(scene).uniform(-0.5, 0.5, (len(scene.angles), 1, 1, 1))
    return to_bytes(render(scene) / 255 * gain)


def pulsing(scene: Scene, strength: float) -> Frames:
    """The size changes from frame to frame."""
    factors = np.exp(0.4 * strength * draws(scene).uniform(-1, 1, len(scene.angles)))
    return frame_by_frame(scene, [dataclasses.replace(scene, radius=scene.radius * f) for f in factors])


def reshaped(scene: Scene, strength: float) -> Frames:
    """Another shape in single frames here and there, up to every third."""
    shapes = ["circle", "square", "triangle", "star", "cross"]
    name = shapes[(shapes.index(scene.attributes.shape) + 2) % 5]
    other = dataclasses.replace(scene, attributes=dataclasses.replace(scene.attributes, shape=name))
    count = len(scene.angles)
    inner = np.arange(2, count - 1, 3)
    wrong = set(draws(scene).permutation(inner)[: round(strength * len(inner))].tolist())
    return frame_by_frame(scene, [other if t in wrong else scene for t in range(count)])


def frame_by_frame(scene: Scene, scenes: list[Scene]) -> Frames:
    """Frame t of scene t."""
    alpha = np.concatenate(
        [
            coverage(dataclasses.replace(s, centres=s.centres[t : t + 1], angles=s.angles[t : t + 1]))
            for t, s in enumerate(scenes)
        ]
    )
    return paint(scene, alpha)


def jittering(scene: Scene, strength: float) -> Frames:
    """The position trembles with a standard deviation of 1.5 pixels at full strength."""
    shift = 1.5 * strength * draws(scene).normal(size=scene.centres.shape)
    return render(dataclasses.replace(scene, centres=np.clip(scene.centres + shift, 8, 40)))


def with_block(scene: Scene, strength: float) -> Frames:
    """A block of up to 9 by 9 pixels in the corner that the object keeps farthest from."""
    frames, side = render(scene), round(9 * strength)
    corners = np.array([(1, 1), (46, 1), (1, 46), (46, 46)])
    nearest = np.linalg.norm(scene.centres[:, None] - corners, axis=2).min(axis=0)
    x, y = (int(min(c, 47 - side)) for c in corners[int(nearest.argmax())])
    frames[:, y : y + side, x : x + side] = 255 * np.array(COLOURS[scene.attributes.colour])
    return frames


def ghosted(scene: Scene, strength: float) -> Frames:
    """A second, paler copy, 7 pixels towards the middle."""
    toward = np.array([24.0, 24.0]) - scene.centres
    unit = toward / np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-6)
    copy = coverage(dataclasses.replace(scene, centres=scene.centres + 7 * unit))
    return paint(scene, np.maximum(coverage(scene), 0.5 * strength * copy))


def bad_start(scene: Scene, strength: float) -> Frames:
    """Noise over the first frames, up to 8 of them."""
    image, count = render(scene) / 255, round(8 * strength)
    image[:count] = 0.5 * image[:count] + 0.5 * draws(scene).uniform(size=image[:count].shape)
    return to_bytes(image)


def frozen(scene: Scene, strength: float) -> Frames:
    """The last frames repeat one picture, `strength` of all."""
    frames = render(scene)
    first = min(len(frames) - 1, len(frames) - round(strength * len(frames)))
    frames[first:] = frames[first]
    return frames
