"""A sweep: the adapters of a run's checkpoints at several scales compete as in an evaluation, with drift beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from densedpo.chunks import chunks
from densedpo.errors import UserError
from densedpo.evaluation.checkpoints import find_checkpoints, keep_adapter
from densedpo.evaluation.choosing import Candidate, candidates, in_words, suggested
from densedpo.evaluation.drift import SIGMAS, measure_drift, unrelated_prompts
from densedpo.evaluation.making import Batch, Makers, Tuned, find_makers
from densedpo.evaluation.measuring import Scene, measure
from densedpo.evaluation.prompts import read_prompts
from densedpo.evaluation.record import Record
from densedpo.evaluation.results import compare, write_results
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.evaluation.shots import BASE, Shot, named, named_places
from densedpo.evaluation.sweep_page import write_page
from densedpo.evaluation.sweep_settings import SweepSettings
from densedpo.files import write_text_atomic
from densedpo.metrics import Asked, Metric, Tools, find_metrics, runnable
from densedpo.metrics.reward import Reward, closing_all, reward_metrics
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project
from densedpo.store.schema import content_id

FORMAT = 1
# What says what is better if nobody says it: the first that runs. Metrics that stillness wins are not among them.
QUALITY = ("visual_quality", "vbench_imaging_quality", "vbench_aesthetic_quality", "text_similarity")
MOTION = ("motion_strength", "dynamic_degree", "dis_dynamic_degree", "vbench_dynamic_degree")


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep takes: videos in all, those that are not there yet, and forwards of one clip each for the rest."""

    contestants: tuple[str, ...]
    prompts: int
    drift_prompts: int
    quality: str
    motion: str | None
    videos: int
    videos_to_make: int
    denoiser_forwards: int
    drift_forwards: int


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: every candidate, the suggested one (None: none is) with what speaks for it, and the files."""

    folder: Path
    candidates: list[Candidate]
    suggestion: str | None
    adapter: Path | None
    words: str
    sampled: int
    scored: int
    not_run: dict[str, str]
    results: Path
    picture: Path
    page: Path


@dataclass(frozen=True)
class _Sweep:
    """Everything that is decided before the first video is made."""

    project: Project
    settings: SweepSettings
    asked: EvaluateSettings
    run: Path
    sources: dict[int, Path]  # step → checkpoint
    places: dict[str, tuple[int, float]]  # contestant → step, scale
    makers: Makers
    shots: list[Shot]
    unrelated: list[str]
    tools: Tools
    rewards: dict[str, Reward]
    metrics: dict[str, Metric]
    not_run: dict[str, str]
    quality: str
    motion: str | None

    @property
    def folder(self) -> Path:
        return self.project.root / "runs" / self.settings.folder

    @property
    def batches(self) -> list[Batch]:
        return [(name, batch) for name in self.makers.contestants for batch in chunks(self.shots, self.asked.batch)]


def plan_sweep(project: Project, settings: SweepSettings, loading: LoadSettings | None = None) -> SweepPlan:
    """What `sweep` would do, without doing it. Raises UserError as `sweep`."""
    ready = _prepare(project, settings, loading)
    clips = ready.folder / "clips"
    there = [
        all((clips / name / f"{shot.stem}.mp4").exists() for shot in batch) * len(batch)
        for name, batch in ready.batches
    ]
    videos = len(ready.shots) * len(ready.makers.contestants)
    studio = ready.makers.studio
    per_video = (len(studio.sigmas) - 1) * (2 if studio.guidance > 1 else 1)
    drift = 2 * len(SIGMAS) * len(ready.unrelated) * len(ready.places) + per_video * len(ready.unrelated)
    return SweepPlan(
        contestants=ready.makers.contestants,
        prompts=len({shot.prompt for shot in ready.shots}),
        drift_prompts=len(ready.unrelated),
        quality=ready.quality,
        motion=ready.motion,
        videos=videos,
        videos_to_make=videos - sum(there),
        denoiser_forwards=per_video * (videos - sum(there)),
        drift_forwards=drift,
    )


def sweep(project: Project, settings: SweepSettings, loading: LoadSettings | None = None) -> SweepResult:
    """Compare checkpoints and scales in `runs/NAME`. Stopped and called again, it goes on; more of them may join.

    Raises:
        UserError: no such run, checkpoint, metric or prompts; the folder holds another run, or this sweep of other
            prompts, seeds or sampling; a video or checkpoint that cannot be read.
    """
    with project.lock(f"evaluate-{settings.folder}"):
        ready = _prepare(project, settings, loading)
        project.run_folder(settings.folder)
        earlier = _earlier(ready)
        for step, source in ready.sources.items():
            keep_adapter(ready.makers.studio.model, ready.run, source, _adapter(ready.folder, step))
        record = Record(ready.folder, ready.asked, _facts(ready, earlier))
        todo = [(name, batch) for name, batch in ready.batches if any(record.video(name, s) is None for s in batch)]
        ready.makers.make(record, todo)
        scene = Scene(ready.makers.contestants, ready.shots, {shot: shot.prompt for shot in ready.shots}, {})
        with closing_all(ready.rewards):
            scored = measure(record, scene, ready.metrics, ready.tools, settings.workers)
        drift = measure_drift(ready.folder, ready.makers, ready.unrelated, ready.asked.batch)
        rows = [row for row in record.scores() if row["contestant"] in ready.makers.contestants]
        margin = settings.motion_margin
        results = compare(rows, ready.makers.contestants, ready.metrics, ready.not_run, margin)
        write_results(ready.folder / "results.json", results)
        found = candidates(ready.places, results, drift, ready.quality, ready.motion)
        return _write(ready, found, sum(len(batch) for _, batch in todo), scored)


def _prepare(project: Project, settings: SweepSettings, loading: LoadSettings | None) -> _Sweep:
    run = project.root / "runs" / settings.run
    sources = find_checkpoints(run, settings.checkpoints)
    asked = settings.evaluation()
    prompts = read_prompts(settings.prompts, project.settings.model, settings.count, settings.dimension)
    unrelated = unrelated_prompts(project, settings)
    tools = Tools(named_places(settings.weights or (), "--weights"))
    rewards = reward_metrics(named(settings.reward or (), "--reward"))
    known = {**find_metrics(), **rewards}
    metrics, not_run = runnable(known, settings.metrics, tools, Asked(list(prompts), False, True))
    quality = _chosen(settings.quality, (*rewards, *QUALITY), metrics, not_run, "--quality")
    motion = _chosen(settings.motion, MOTION, metrics, not_run, "--motion")
    if quality is None:
        directed = ", ".join(name for name, metric in metrics.items() if metric.better != "neither") or "none"
        raise UserError(
            f"no metric of quality runs here, so nothing says what is better: name one that has a direction with "
            f"--quality ({directed}), or bring one with --reward or --weights"
        )
    places = {f"step-{step:06d}-x{scale:g}": (step, scale) for step in sources for scale in settings.scales}
    folder = project.root / "runs" / settings.folder
    adapters = {name: Tuned(_adapter(folder, step), scale) for name, (step, scale) in places.items()}
    makers, asked = find_makers(project, asked, adapters, loading)
    asked = asked.model_copy(update={"count": len(prompts)})
    shots = [Shot(p, index, seed) for index, p in enumerate(prompts) for seed in range(settings.seeds_per_prompt)]
    told = (tools, rewards, metrics, not_run, quality, motion)
    return _Sweep(project, settings, asked, run, sources, places, makers, shots, unrelated, *told)


def _chosen(
    asked: str | None, usual: Sequence[str], metrics: Mapping[str, Metric], not_run: Mapping[str, str], flag: str
) -> str | None:
    """The metric asked for, or the first usual one that runs. Raises UserError for one that cannot say it."""
    if asked is None:
        return next((name for name in usual if name in metrics), None)
    if asked not in metrics:
        why = not_run.get(asked, f"the metrics that run are {', '.join(metrics)}")
        raise UserError(f"{flag} {asked} is not measured: {why}")
    fits = metrics[asked].amount if flag == "--motion" else metrics[asked].better != "neither"
    if not fits:
        what = "an amount of motion" if flag == "--motion" else "a metric with a direction"
        raise UserError(f"{flag} {asked} is not {what}; choose another")
    return asked


def _adapter(folder: Path, step: int) -> Path:
    return folder / "adapters" / f"step-{step:06d}"


def _earlier(ready: _Sweep) -> dict[str, Any]:
    """What run.json says, after letting in the contestants that are new: a sweep may grow."""
    described = ready.folder / "run.json"
    if not described.exists():
        return {"contestants": [], "sources": {}}
    before: dict[str, Any] = json.loads(described.read_text("utf-8"))
    if before.get("sweep") != ready.settings.run:
        raise UserError(f"{ready.folder} is another run, and no sweep of {ready.settings.run}; give another --name")
    before["contestants"] = list(dict.fromkeys([*before["contestants"], *ready.makers.contestants]))
    write_text_atomic(described, json.dumps(before, indent=2, ensure_ascii=False) + "\n")
    return before


def _facts(ready: _Sweep, earlier: Mapping[str, Any]) -> dict[str, Any]:
    facts = ready.makers.facts()
    return facts | {
        "contestants": earlier["contestants"] or list(ready.makers.contestants),
        "prompts_hash": content_id(list(dict.fromkeys(shot.prompt for shot in ready.shots))),
        "sources": earlier["sources"] | facts["sources"],
        "project": ready.project.fingerprint(),
        "sweep": ready.settings.run,
    }


def _write(ready: _Sweep, found: Sequence[Candidate], sampled: int, scored: int) -> SweepResult:
    chosen, words = suggested(found), in_words(found, ready.quality, ready.motion)
    folder = ready.folder
    facts = {
        "format": FORMAT,
        "run": ready.settings.run,
        "base": BASE,
        "base_model": ready.makers.studio.model.name,
        "base_model_hash": ready.makers.studio.model.model_hash,
        "quality": ready.quality,
        "better": ready.metrics[ready.quality].better,
        "motion": ready.motion,
        "motion_margin": ready.settings.motion_margin,
        "prompts": len({shot.prompt for shot in ready.shots}),
        "drift_prompts": ready.unrelated,
        "drift_sigmas": list(SIGMAS),
        "candidates": [
            asdict(each)
            | {"better": each.better, "eligible": each.eligible}
            | {"adapter": _adapter(folder, each.step).relative_to(folder).as_posix()}
            for each in found
        ],
        "suggestion": {"contestant": chosen.contestant if chosen else None, "words": words},
        "settings": ready.settings.model_dump(mode="json"),
    }
    results = write_results(folder / "sweep.json", facts)
    title = ready.metrics[ready.quality].title
    picture, page = write_page(folder, ready.settings.run, found, chosen, words, title, ready.motion)
    return SweepResult(
        folder=folder,
        candidates=list(found),
        suggestion=chosen.contestant if chosen else None,
        adapter=_adapter(folder, chosen.step) if chosen else None,
        words=words,
        sampled=sampled,
        scored=scored,
        not_run=ready.not_run,
        results=results,
        picture=picture,
        page=page,
    )
