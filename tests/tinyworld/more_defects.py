"""More planted defects, and clips with several at random strengths: as in `defects`, 0 is none and 1 is much."""

import numpy as np
from defects import (
    Frames,
    any_scene,
    bled,
    draws,
    flickering,
    ghosted,
    jittering,
    melted,
    other_colour,
    paint,
    popping,
    pulsing,
    recoloured,
    reshaped,
    to_bytes,
    vanished,
)
from numpy.typing import NDArray
from scipy import ndimage

from densedpo.tinyworld.world import COLOURS, SIZE, Scene, coverage, signed_distance


def around(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the pixels are from the object's centre and turned as it is, x and y, each [T, H, W]."""
    pixel = np.arange(SIZE) + 0.5
    x = pixel[None, None, :] - scene.centres[:, 0, None, None]
    y = pixel[None, :, None] - scene.centres[:, 1, None, None]
    cos, sin = np.cos(scene.angles)[:, None, None], np.sin(scene.angles)[:, None, None]
    return cos * x + sin * y, cos * y - sin * x


def pierced(scene: Scene, strength: float) -> Frames:
    """A round hole in the middle, up to 0.45 radii wide each way."""
    x, y = around(scene)
    hole = np.clip(0.5 + 0.45 * strength * scene.radius - np.hypot(x, y), 0, 1) if strength else 0.0
    return paint(scene, coverage(scene) * (1 - hole))


def waved(scene: Scene, depth: float, phases_TK: NDArray[np.float64]) -> Frames:
    """The outline goes in and out by up to about `depth` radii, in waves 2, 3, 5 and 7 to the turn."""
    x, y = around(scene)
    bearing = np.arctan2(y, x)
    waves = [np.cos(k * bearing + phases_TK[:, i, None, None]) for i, k in enumerate((2, 3, 5, 7))]
    radius = scene.radius * (1 + depth * np.mean(waves, axis=0))
    return paint(scene, np.clip(0.5 - signed_distance(scene.attributes.shape, x, y, radius), 0, 1))


def wobbling(scene: Scene, strength: float) -> Frames:
    """A wavy outline, the same in all frames."""
    return waved(scene, 0.5 * strength, np.tile(draws(scene).uniform(0, 6.3, (1, 4)), (len(scene.angles), 1)))


def writhing(scene: Scene, strength: float) -> Frames:
    """A wavy outline, another in every frame."""
    return waved(scene, 0.4 * strength, draws(scene).uniform(0, 6.3, (len(scene.angles), 4)))


def drifting(scene: Scene, strength: float) -> Frames:
    """The colour turns into another one over the clip, all the way at full strength."""
    own = np.array(COLOURS[scene.attributes.colour])
    share = strength * np.linspace(0, 1, len(scene.angles))[:, None, None, None]
    return paint(scene, coverage(scene), (1 - share) * own + share * other_colour(scene))


SPOILERS = [melted, wobbling, pierced, bled, ghosted, recoloured, drifting]
SPOILERS += [popping, pulsing, reshaped, writhing, jittering, flickering, vanished]


def spoiled(item: int) -> tuple[Frames, str]:
    """A clip with one of these defects, blur and specks, each at a random strength, and its caption."""
    scene, random = any_scene(23, item), np.random.default_rng([23, item])
    defect = SPOILERS[item % len(SPOILERS)]
    image = defect(scene, random.uniform()) / 255
    blur = 1.2 * random.uniform() ** 2
    image = ndimage.gaussian_filter(image, (0, blur, blur, 0))
    image += 0.02 * random.uniform() * random.normal(size=image.shape)
    first, count = random.integers(0, 25), random.integers(0, 9)
    side = random.integers(0, 6)
    image[first : first + count, 1 : 1 + side, 1 : 1 + side] = COLOURS[scene.attributes.colour]
    return to_bytes(image), scene.attributes.caption
