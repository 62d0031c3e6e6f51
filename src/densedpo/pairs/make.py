"""The pair stage: plan, generate batch by batch, store. Stopped and run again it goes on, and makes the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.diffusion.protocol import VideoModel
from densedpo.files import temporary_beside
from densedpo.models.encoded import (
    clip_latents,
    conditioning,
    encode_clips,
    encode_first_frames,
    encode_prompts,
    first_frames,
    save_tensors,
)
from densedpo.pairs.generate import PairResult, generate_pairs
from densedpo.pairs.recipe import plan
from densedpo.pairs.settings import PairSettings
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, recipe_id
from densedpo.store.shapes import like_batches, shape_of
from densedpo.video.io import write_video

Planned = tuple[Clip, dict[str, Any]]


@dataclass(frozen=True)
class PairsReport:
    """What the stage did."""

    planned: int
    made: int
    near_identical: int


def make_pairs(project: Project, model: VideoModel, settings: PairSettings) -> PairsReport:
    """Make the planned pairs that the project does not have yet.

    Batches are cut from the whole plan, never from what happens to be left, so that a restart computes the same bits.
    All clips of a batch have one shape.

    Raises:
        UserError: no clips; eta out of range; the model cannot take a clip's frames or size; the disk is full.
    """
    with project.lock("pairs"):
        todo = remaining(project, model, settings)
        known = {pair.id for pair in project.pairs()}
        _encode_ahead(project, model, todo, settings)
        made = sum(_make_batch(project, model, b, known, settings) for b in track(todo, description="making pairs"))
    ids = {recipe_id(recipe) for _, recipe in _planned(project, model, settings)}
    close = sum(pair.near_identical for pair in project.pairs() if pair.id in ids)
    return PairsReport(len(ids), made, close)


def remaining(project: Project, model: VideoModel, settings: PairSettings) -> list[list[Planned]]:
    """The batches of the plan that hold a pair which the project does not have yet.

    Raises:
        UserError: as `make_pairs`.
    """
    known = {pair.id for pair in project.pairs()}
    batches = like_batches(_planned(project, model, settings), lambda item: shape_of(item[0]), settings.batch)
    return [batch for batch in batches if any(recipe_id(recipe) not in known for _, recipe in batch)]


def _planned(project: Project, model: VideoModel, settings: PairSettings) -> list[Planned]:
    return plan(list(project.clips(settings.split)), model, project.settings.fps, settings)


def _encode_ahead(
    project: Project, model: VideoModel, todo: Sequence[Sequence[Planned]], settings: PairSettings
) -> None:
    items = [item for batch in todo for item in batch]
    encode_prompts(project, model, *([recipe[key] for _, recipe in items] for key in ("prompt", "negative_prompt")))
    if settings.mode == "guided":
        encode_clips(project, model, [clip for clip, _ in items])
    if items:
        encode_first_frames(project, model, first_frames([recipe for _, recipe in items]) or ())


def _make_batch(
    project: Project, model: VideoModel, batch: Sequence[Planned], known: set[str], settings: PairSettings
) -> int:
    """Generate one batch and add it in one transaction; returns how many pairs are new."""
    clips, recipes = [clip for clip, _ in batch], [recipe for _, recipe in batch]
    images = first_frames(recipes)
    result = generate_pairs(
        model,
        recipes,
        clip_latents(project, model, clips) if settings.mode == "guided" else None,
        conditioning(project, model, [r["prompt"] for r in recipes], images),
        conditioning(project, model, [r["negative_prompt"] for r in recipes], images, negative=True),
    )
    new = [i for i, recipe in enumerate(recipes) if recipe_id(recipe) not in known]
    return project.add_pairs([_store(project, model, batch[i], result, i, settings) for i in new])


def _store(
    project: Project, model: VideoModel, item: Planned, result: PairResult, index: int, settings: PairSettings
) -> Pair:
    clip, recipe = item
    latents = temporary_beside(project.cache_folder("making") / "latents")
    save_tensors(latents, {"a": result.latents_a[index], "b": result.latents_b[index]}, {"vae": model.vae_hash})
    distance = result.distance[index].item()
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=recipe["clip"],
        prompt=recipe["prompt"],
        mode=recipe["mode"],
        split=clip.split,
        frames=recipe["frames"],
        fps=recipe["fps"],
        width=recipe["width"],
        height=recipe["height"],
        eta=recipe.get("eta"),
        model_hash=model.model_hash,
        vae_hash=model.vae_hash,
        media_a=_adopt_video(project, result.video_a[index], recipe["fps"]),
        media_b=_adopt_video(project, result.video_b[index], recipe["fps"]),
        latents=project.adopt(latents, "latents"),
        distance=distance,
        near_identical=distance < settings.near_identical,
    )


def _adopt_video(project: Project, frames: NDArray[np.uint8], fps: float) -> str:
    path = temporary_beside(project.cache_folder("making") / "video").with_suffix(".mp4")
    write_video(path, frames, fps)
    return project.adopt(path)
