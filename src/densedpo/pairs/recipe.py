"""A pair's recipe: everything that decides its pixels, fixed before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, check_frame_rate, given_frames
from densedpo.diffusion.samplers import Sampler, sampler_name, sampler_of
from densedpo.diffusion.schedule import eta_of_step_fraction, starting_at, step_fraction
from densedpo.diffusion.seeds import seed_of, uniform
from densedpo.errors import UserError
from densedpo.pairs.settings import PairSettings
from densedpo.store.schema import Clip
from densedpo.store.shapes import Shape, shape_of

SEEDS = 2**31  # seeds of members lie below


def check_shapes(clips: Iterable[Clip], model: VideoModel) -> None:
    """Raises UserError, naming the nearest valid values, if the model cannot take the shape of one of these clips."""
    for shape, count in sorted(Counter(map(shape_of, clips)).items()):
        try:
            latent_shape(model, shape)
        except UserError as error:
            raise UserError(f"{count} clips are of {shape}, which {model.name} cannot take: {error}") from error


def latent_shape(model: VideoModel, shape: Shape) -> tuple[int, int, int, int]:
    """`(C, F, H', W')` of clips of a shape."""
    return model.latent_shape(shape.frames, shape.height, shape.width)


def plan(
    clips: Sequence[Clip], model: VideoModel, fps: float, settings: PairSettings
) -> list[tuple[Clip, dict[str, Any]]]:
    """The recipes of `settings.count` pairs, in a fixed order: each clip once, then each clip a second time, and so on.

    Every recipe is a function of (settings, clip, repeat) alone, so a longer plan begins with the shorter one.

    Raises:
        UserError: there are no clips, the model cannot take one's shape, eta is out of the schedule's range, or the
            model has no such sampler.
    """
    if not clips:
        raise UserError(
            f"there are no clips in the {settings.split} split: run `densedpo ingest`, or name another --split"
        )
    check_frame_rate(model, fps)
    check_shapes(clips, model)
    steps = settings.steps or model.defaults.steps
    sampler = sampler_of(model, settings.sampler)
    sigmas = {shape: sampler.sigmas(steps, latent_shape(model, shape)) for shape in set(map(shape_of, clips))}
    common = {
        "mode": settings.mode,
        "model": model.model_hash,
        "vae": model.vae_hash,
        "sampler": sampler_name(model, settings.sampler),
        "steps": steps,
        "guidance": model.defaults.guidance if settings.guidance is None else settings.guidance,
        "negative_prompt": model.defaults.negative_prompt
        if settings.negative_prompt is None
        else settings.negative_prompt,
        "fps": fps,
    }
    if settings.guidance is None and model.defaults.guidance_2 is not None:
        common["guidance_2"] = model.defaults.guidance_2  # of the second expert
    count = settings.count or len(clips)
    turns = ((clip, repeat) for repeat in range(-(-count // len(clips))) for clip in clips)
    return [
        (clip, common | _own(clip, repeat, sigmas[shape_of(clip)], sampler, model, settings))
        for clip, repeat in islice(turns, count)
    ]


def _own(
    clip: Clip, repeat: int, sigmas: Tensor, sampler: Sampler, model: VideoModel, settings: PairSettings
) -> dict[str, Any]:
    """What sets this pair apart: clip, shape, prompt, two seeds, and one eta for both (two would teach a shortcut)."""
    key = (settings.seed, "pair", settings.mode, clip.id, repeat)
    own: dict[str, Any] = shape_of(clip)._asdict() | {
        "clip": clip.id if settings.mode == "guided" else None,
        "prompt": clip.caption,
        "seed_a": seed_of(*key, "a") % SEEDS,
        "seed_b": seed_of(*key, "b") % SEEDS,
    }
    if given_frames(model):
        own["first_frame"] = clip.id
    if settings.mode == "guided":
        drawn = uniform(settings.eta_low, settings.eta_high, *key, "eta")
        asked = drawn if settings.eta_unit == "sigma" else eta_of_step_fraction(sigmas, drawn)
        eta = model.process.nearest(torch.tensor([asked], dtype=torch.float64)).item()
        share = step_fraction(sigmas, eta, sampler.multistep)
        own |= {"eta": eta, "eta_unit": settings.eta_unit, "eta_step_fraction": share}
    return own


def schedule(recipe: dict[str, Any], model: VideoModel) -> Tensor:
    """The sigmas that both members are denoised through, `[n + 1]`: from eta for guided pairs, else all."""
    size = latent_shape(model, Shape(recipe["frames"], recipe["width"], recipe["height"]))
    sampler = sampler_of(model, recipe["sampler"])
    sigmas = sampler.sigmas(recipe["steps"], size)
    return starting_at(sigmas, recipe["eta"], sampler.multistep) if recipe["mode"] == "guided" else sigmas
