"""A procedural world of one moving shape: captions, scenes, and their exact pixels.

Everything is a pure function of a seed. Quality is perfect by construction, so whatever a
model trained on these clips does wrong is the model's fault, and `oracle.py` can see it.
Speed varies widely *within* a caption (seven in ten captions name no speed), because a
preference for still clips can only show where a caption leaves motion open.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SIZE = 48  # pixels, square
FRAMES = 33  # 1 + 4 * 8: what a causal video autoencoder with temporal factor 4 takes
FPS = 8

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.18, 0.20),
    "green": (0.20, 0.75, 0.30),
    "blue": (0.25, 0.45, 0.98),
    "yellow": (0.96, 0.86, 0.20),
    "purple": (0.66, 0.30, 0.86),
    "orange": (0.98, 0.55, 0.13),
}
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "black": (0.05, 0.05, 0.06),
    "white": (0.95, 0.95, 0.94),
    "grey": (0.50, 0.50, 0.50),
    "navy": (0.07, 0.10, 0.28),
}
DIRECTIONS = ("", "horizontally", "vertically", "diagonally")
SPEED_WORDS = ("", "slowly", "quickly")
SPEED_RANGE = (0.04, 1.0)  # pixels per frame, before the per-second multiplier
MAX_SPEED = 1.0
MOST_TILT = 0.3  # radians, either way, at the start of a clip
SPIN_RANGE = (0.06, 0.25)  # radians per frame, doubled for one second of the clip
SPLITS = (("base", 70), ("pairs", 10), ("tune", 10), ("test", 10))  # percent of captions


def _regular(corners: int, turn: float = 0.0) -> NDArray[np.float64]:
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def _star() -> NDArray[np.float64]:
    points = _regular(10)
    points[1::2] *= 0.45
    return points * 1.15


def _cross() -> NDArray[np.float64]:
    a, b = 0.36, 1.0
    corners = [(a, a), (b, a), (b, -a), (a, -a), (a, -b), (-a, -b), (-a, -a), (-b, -a)]
    corners += [(-b, a), (-a, a), (-a, b), (a, b)]
    return np.array(corners)


# Corner lists in units of the radius, x right and y down; a circle has none.
SHAPES: dict[str, NDArray[np.float64] | None] = {
    "circle": None,
    "square": _regular(4, np.pi / 4) * 1.2,
    "triangle": _regular(3) * 1.25,
    "star": _star(),
    "cross": _cross(),
}


@dataclass(frozen=True)
class Attributes:
    """What a caption says."""

    colour: str
    shape: str
    background: str
    direction: str = ""
    spinning: bool = False
    speed_word: str = ""

    @property
    def caption(self) -> str:
        """The caption, for example `a red star moves slowly vertically and spins on a grey background`."""
        words = [
            "an" if self.colour == "orange" else "a",
            self.colour,
            self.shape,
            "moves",
            self.speed_word,
            self.direction,
        ]
        words += ["and spins"] if self.spinning else []
        return " ".join(w for w in words if w) + f" on a {self.background} background"

    @property
    def split(self) -> str:
        """Which part of the world this caption belongs to; speed words do not count."""
        key = f"{self.colour}/{self.shape}/{self.background}/{self.direction}/{self.spinning}"
        bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
        for name, share in SPLITS:
            if bucket < share:
                return name
            bucket -= share
        raise AssertionError("the shares in SPLITS add up to 100")


def parse_caption(caption: str) -> Attributes:
    """Read a caption of this world back into its attributes.

    Raises:
        ValueError: a colour, shape or background is missing or unknown.
    """
    words = caption.lower().replace(".", "").split()

    def one(options: tuple[str, ...], what: str) -> str:
        found = [w for w in words if w in options]
        if not found:
            raise ValueError(f"caption {caption!r} names no {what}; one of {', '.join(options)} is needed")
        return found[0]

    return Attributes(
        colour=one(tuple(COLOURS), "colour"),
        shape=one(tuple(SHAPES), "shape"),
        background=one(tuple(BACKGROUNDS), "background"),
        direction=next((w for w in words if w in DIRECTIONS[1:]), ""),
        spinning="spins" in words,
        speed_word=next((w for w in words if w in SPEED_WORDS[1:]), ""),
    )


@functools.cache
def captions(split: str) -> tuple[Attributes, ...]:
    """All attribute sets of a split, in a fixed order: without speed words, and none spins.

    Scenes can spin, and both scorers judge that, but a model as small as ours does not learn shapes in every turn:
    where half of the captions said so, turning made most of the artifacts, and motion few.
    """
    grid = itertools.product(COLOURS, SHAPES, BACKGROUNDS, DIRECTIONS)
    return tuple(a for a in (Attributes(*row) for row in grid) if a.split == split)


@dataclass(frozen=True)
class Scene:
    """One clip before it is drawn: where the shape is in each frame, and how it is turned."""

    attributes: Attributes
    radius: float
    centres: NDArray[np.float64]  # [T, 2], pixels, x then y
    angles: NDArray[np.float64]  # [T], radians

    @property
    def speeds(self) -> NDArray[np.float64]:
        """Distance moved from each frame to the next, [T - 1], pixels."""
        return np.asarray(np.linalg.norm(np.diff(self.centres, axis=0), axis=1))


def _fold(path: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Reflect an unbounded path at the walls `low` and `high`."""
    room = high - low
    return high - np.abs(np.mod(path - low, 2 * room) - room)


def sample_scene(rng: np.random.Generator, attributes: Attributes, frames: int = FRAMES) -> Scene:
    """Draw a scene for a caption: speed, its changes from second to second, heading, turning."""
    low, high = np.log(SPEED_RANGE)
    third = (high - low) / 3
    low, high = {"": (low, high), "slowly": (low, low + third), "quickly": (high - third, high)}[attributes.speed_word]
    second = np.arange(frames - 1) // FPS
    pace = np.exp(rng.normal(0.0, 0.6, size=second[-1] + 1))[second]
    speed = np.minimum(np.exp(rng.uniform(low, high)) * pace, MAX_SPEED)

    heading = {
        "": rng.uniform(0, 2 * np.pi),
        "horizontally": np.pi * rng.integers(2),
        "vertically": np.pi / 2 + np.pi * rng.integers(2),
        "diagonally": np.pi / 4 + np.pi / 2 * rng.integers(4),
    }[attributes.direction]
    radius = rng.uniform(6.5, 8.5)
    margin = radius * 1.2
    start = rng.uniform(margin, SIZE - margin, size=2)
    travelled = np.concatenate([[0.0], np.cumsum(speed)])
    path = start + travelled[:, None] * np.array([np.cos(heading), np.sin(heading)])

    turn = np.zeros(frames - 1)
    if attributes.spinning:
        turn[:] = np.exp(rng.uniform(*np.log(SPIN_RANGE))) * rng.choice([-1, 1])
        turn[second == rng.integers(second[-1] + 1)] *= 2.0  # a burst
    angles = rng.uniform(-MOST_TILT, MOST_TILT) + np.concatenate([[0.0], np.cumsum(turn)])
    return Scene(attributes, radius, _fold(path, margin, SIZE - margin), angles)


def signed_distance(
    shape: str, x: NDArray[np.float64], y: NDArray[np.float64], radius: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed distance in pixels (negative inside) from points to an upright shape at the origin."""
    corners = SHAPES[shape]
    if corners is None:
        return np.asarray(np.hypot(x, y) - radius)
    nearest = np.full(np.broadcast(x, radius).shape, np.inf)
    inside = np.zeros(nearest.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        px, py = x - ax * radius, y - ay * radius
        ex, ey = (bx - ax) * radius, (by - ay) * radius
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, (px - ex * along) ** 2 + (py - ey * along) ** 2)
        crosses = (py >= 0) != (py >= ey)
        inside ^= crosses & ((px * ey < py * ex) == (ey > 0))
    return np.asarray(np.where(inside, -1.0, 1.0) * np.sqrt(nearest))


def coverage(scene: Scene, size: int = SIZE) -> NDArray[np.float64]:
    """How much of each pixel the shape covers, [T, size, size], in [0, 1]."""
    reach = int(np.ceil(scene.radius * 1.25)) + 2
    offset = np.arange(-reach, reach + 1)
    corner = np.floor(scene.centres).astype(int)
    x = corner[:, 0, None] + offset + 0.5 - scene.centres[:, 0, None]  # [T, window]
    y = corner[:, 1, None] + offset + 0.5 - scene.centres[:, 1, None]
    cos, sin = np.cos(scene.angles)[:, None, None], np.sin(scene.angles)[:, None, None]
    turned_x = cos * x[:, None, :] + sin * y[:, :, None]
    turned_y = -sin * x[:, None, :] + cos * y[:, :, None]
    window = np.clip(0.5 - signed_distance(scene.attributes.shape, turned_x, turned_y, scene.radius), 0.0, 1.0)
    padded = np.zeros((len(corner), size + 2 * reach, size + 2 * reach))
    for frame, (cx, cy) in enumerate(corner):
        padded[frame, cy : cy + 2 * reach + 1, cx : cx + 2 * reach + 1] = window[frame]
    return padded[:, reach : reach + size, reach : reach + size]


def render(scene: Scene, size: int = SIZE) -> NDArray[np.uint8]:
    """Draw a scene, `[T, size, size, 3]` in 0..255; the background darkens a little towards the bottom."""
    alpha = coverage(scene, size)[..., None]
    shade = np.linspace(1.04, 0.90, size)[:, None, None]
    background = np.clip(np.array(BACKGROUNDS[scene.attributes.background]) * shade, 0, 1)
    image = alpha * np.array(COLOURS[scene.attributes.colour]) + (1 - alpha) * background
    return np.asarray(np.rint(image * 255), dtype=np.uint8)


def draw_scene(seed: int, item: int, split: str = "base", frames: int = FRAMES) -> Scene:
    """Scene number `item` of a split: a pure function of (seed, split, item)."""
    split_number = [name for name, _ in SPLITS].index(split)
    rng = np.random.default_rng([seed, split_number, item])
    choices = captions(split)
    named = rng.choice(len(SPEED_WORDS), p=[0.7, 0.15, 0.15])
    base = choices[rng.integers(len(choices))]
    attributes = replace(base, speed_word=SPEED_WORDS[named])
    return sample_scene(rng, attributes, frames)
