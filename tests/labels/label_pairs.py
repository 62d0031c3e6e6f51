"""Pairs of the tiny world whose b is spoiled in its second second."""

from pathlib import Path
from typing import Any

import numpy as np

from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Pair, recipe_id
from densedpo.tinyworld.world import FPS, Attributes, render, sample_scene
from densedpo.video.io import Frames, write_video

FRAMES = 17  # two seconds, and so two segments
ASKED = Attributes("red", "star", "navy", speed_word="quickly")


def picture(number: int, spoiled: bool) -> Frames:
    frames = render(sample_scene(np.random.default_rng(number), ASKED, FRAMES)).copy()
    if spoiled:
        frames[8:, ::2] = frames[8:, 1::2]
    return frames


def new_project(folder: Path) -> Project:
    return Project.create(folder, ProjectSettings(frames=FRAMES, fps=FPS))


def add_pair(project: Project, number: int, swapped: bool = False, **changes: Any) -> Pair:
    """A pair whose b is the worse one, or, swapped, whose a is; the id is the same."""
    media = []
    for spoiled in (False, True):
        path = project.root / "new.mp4"
        write_video(path, picture(number, spoiled), FPS)
        media.append(project.adopt(path))
    a, b = reversed(media) if swapped else media
    recipe = {"number": number}
    values: dict[str, Any] = {
        "id": recipe_id(recipe),
        "recipe": recipe,
        "clip": None,
        "prompt": ASKED.caption,
        "mode": "guided",
        "split": "train",
        "frames": FRAMES,
        "fps": FPS,
        "width": 48,
        "height": 48,
        "eta": 0.7,
        "model_hash": "m",
        "vae_hash": "v",
        "media_a": a,
        "media_b": b,
        "latents": None,
        "distance": 0.5,
        "near_identical": False,
    }
    pair = Pair(**values | changes)
    project.add_pairs([pair])
    return pair
