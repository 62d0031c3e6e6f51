"""Base and tuned models make videos of the same prompts from the same noise, and each video is scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from densedpo.chunks import chunks
from densedpo.diffusion.protocol import VideoModel, check_frame_rate
from densedpo.errors import UserError
from densedpo.evaluation.prompts import read_prompts
from densedpo.evaluation.record import Record, Score, video_name
from densedpo.evaluation.sampling import Shot, Studio
from densedpo.evaluation.scoring import check_prompts, score
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.files import file_digest
from densedpo.models import load_model
from densedpo.models.identity import versions
from densedpo.models.lora import WEIGHTS, adapter_on
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import content_id
from densedpo.video.io import write_video

BASE = "base"


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation: `sampled` videos were made now, `known` were there.

    `redone` names the contestants whose adapter had changed since, so that their videos were made anew. `means` holds
    each contestant's plain mean of each metric; intervals and differences are the report's.
    """

    folder: Path
    contestants: tuple[str, ...]
    prompts: int
    sampled: int
    known: int
    redone: tuple[str, ...]
    means: dict[str, dict[str, float]]


def evaluate(project: Project, settings: EvaluateSettings) -> EvaluationResult:
    """Compare training runs with the base model, in `runs/NAME`. Stopped and called again, it goes on, to equal scores.

    Raises:
        UserError: no adapter to evaluate; prompts that cannot be read or scored; the folder holds another run, or this
            one made differently.
    """
    with project.lock(f"evaluate-{settings.name}"):
        prompts = read_prompts(settings.prompts, project.settings.model, settings.count)
        check_prompts(prompts)
        adapters = find_adapters(project, settings.runs)
        model = load_model(project.settings.model)
        studio, settings = _studio(project, model, settings)
        settings = settings.model_copy(update={"runs": tuple(adapters), "count": len(prompts)})
        contestants, folder = (BASE, *adapters), project.run_folder(settings.name)
        record = Record(folder, contestants, settings, _facts(project, model, prompts, adapters))
        shots = [Shot(p, index, seed) for index, p in enumerate(prompts) for seed in range(settings.seeds_per_prompt)]
        batches = [(name, batch) for name in contestants for batch in chunks(shots, settings.batch)]
        todo = [(name, batch) for name, batch in batches if not all(record.has(name, shot) for shot in batch)]
        for name, work in groupby(track(todo, description="evaluate"), key=itemgetter(0)):
            with adapter_on(model.denoiser, adapters[name]) if name in adapters else nullcontext():
                for _, batch in work:
                    _make(studio, record, folder, name, batch)
    sampled = sum(len(batch) for _, batch in todo)
    known = len(contestants) * len(shots) - sampled
    means = _means(record.scores())
    return EvaluationResult(folder, contestants, len(prompts), sampled, known, record.redone, means)


def find_adapters(project: Project, runs: Sequence[str] | None) -> dict[str, Path]:
    """Training run → folder of its adapter, for the runs named, or for all that have one.

    Raises UserError for a run without an adapter, a run named like the base model, or, if none is named, no run at all.
    """
    found = {file.parents[1].name: file.parent for file in sorted((project.root / "runs").glob(f"*/adapter/{WEIGHTS}"))}
    known = ", ".join(found) or "none"
    for name in found if runs is None else runs:
        if name not in found:
            raise UserError(f"training run {name!r} has no adapter; runs that have one: {known}; see `densedpo train`")
        if name == BASE:
            raise UserError(f"a training run may not be named {BASE!r} here, for that is the base model; rename it")
    if not found and runs is None:
        raise UserError("no training run has an adapter yet; make one with `densedpo train`")
    return found if runs is None else {name: found[name] for name in runs}


def _studio(project: Project, model: VideoModel, settings: EvaluateSettings) -> tuple[Studio, EvaluateSettings]:
    """How to sample, and the settings with the model's own steps and guidance filled in."""
    check_frame_rate(model, project.settings.fps)
    steps = model.defaults.steps if settings.steps is None else settings.steps
    guidance = model.defaults.guidance if settings.guidance is None else settings.guidance
    size = project.settings
    sigmas = model.sigmas(steps, model.latent_shape(size.frames, size.height, size.width))
    guidance_2 = model.defaults.guidance_2 if settings.guidance is None else None
    studio = Studio(model, size, sigmas, guidance, guidance_2, settings.seed)
    return studio, settings.model_copy(update={"steps": steps, "guidance": guidance})


def _facts(project: Project, model: VideoModel, prompts: list[str], adapters: dict[str, Path]) -> dict[str, Any]:
    return {
        "base_model": model.name,
        "model_hash": model.model_hash,
        "vae_hash": model.vae_hash,
        "prompts_hash": content_id(prompts),
        "adapters": {name: file_digest(folder / WEIGHTS) for name, folder in adapters.items()},
        "project": project.fingerprint(),
        "versions": versions(),
    }


def _make(studio: Studio, record: Record, folder: Path, contestant: str, batch: Sequence[Shot]) -> None:
    """Make, keep and score the videos of one batch; a stop on the way leaves the batch to be made again."""
    began = time.monotonic()
    scored = []
    for shot, frames in zip(batch, studio.videos(batch), strict=True):
        path = folder / video_name(contestant, shot)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, studio.size.fps)
        scored.append((shot, score(frames, shot.prompt)))
    record.add(contestant, scored, time.monotonic() - began)


def _means(rows: Sequence[Score]) -> dict[str, dict[str, float]]:
    means = {}
    for name, group in groupby(rows, key=itemgetter("contestant")):
        scores = [row["scores"] for row in group]
        means[name] = {metric: sum(each[metric] for each in scores) / len(scores) for metric in scores[0]}
    return means
