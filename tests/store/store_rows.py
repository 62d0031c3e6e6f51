"""Settings of a project, and rows to put in it, each from a number."""

from typing import Any

from densedpo.store.project import ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, clip_id, recipe_id

SETTINGS = ProjectSettings(frames=33, fps=8, width=48, height=48)


def clip(number: int = 0, **changes: Any) -> Clip:
    values: dict[str, Any] = {
        "id": clip_id(f"file {number}", 0, 33, 8, 48, 48),
        "media": f"{number:064x}",
        "caption": "a red circle moves",
        "frames": 33,
        "fps": 8,
        "width": 48,
        "height": 48,
        "source": "tinyworld",
        "licence": "CC0",
        "split": "train",
        "origin": "circle.mp4",
    }
    return Clip(**values | changes)


def pair(number: int = 0, **changes: Any) -> Pair:
    recipe = {"prompt": "a red circle", "seed": number}
    values: dict[str, Any] = {
        "id": recipe_id(recipe),
        "recipe": recipe,
        "clip": None,
        "prompt": "a red circle",
        "mode": "guided",
        "split": "train",
        "frames": 33,
        "fps": 8,
        "width": 48,
        "height": 48,
        "eta": 0.75,
        "model_hash": "m",
        "vae_hash": "v",
        "media_a": f"{2 * number:064x}",
        "media_b": f"{2 * number + 1:064x}",
        "latents": None,
        "distance": 0.5,
        "near_identical": False,
    }
    return Pair(**values | changes)


def label(of: Pair, segment: int | None = 0, choice: str = "a", annotator: str = "ann", **changes: Any) -> Label:
    values: dict[str, Any] = {"seen": "s", "segment_seconds": 1, "annotator_kind": "human", **changes}
    return Label.make(pair=of.id, segment=segment, choice=choice, annotator=annotator, **values)
