"""Scores of all videos of an evaluation: each clip is decoded once for all metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from densedpo.evaluation.record import Record
from densedpo.evaluation.shots import Shot
from densedpo.metrics import Footage, Metric, Tools, UnmeasurableError
from densedpo.progress import track


@dataclass(frozen=True)
class Scene:
    """What is measured: the shots, whose first contestant is every other one's partner, and what belongs to them."""

    contestants: Sequence[str]
    shots: Sequence[Shot]
    captions: Mapping[Shot, str | None]
    references: Mapping[Shot, Path]


def measure(record: Record, scene: Scene, metrics: Mapping[str, Metric], tools: Tools) -> int:
    """Measure what was not tried yet and return how many videos that were. A stop keeps what was measured.

    A video without a value of a metric gets none, and `unmeasured` says why. Raises UserError for a video that cannot
    be decoded.
    """
    began = time.monotonic()
    weights = {name: " ".join(filter(None, map(tools.digest, each.needs))) for name, each in metrics.items()}
    before = record.fact("weights") or {}
    record.forget_metrics({name for name in weights if before.get(name, weights[name]) != weights[name]})
    work = [(shot, todo) for shot in scene.shots if (todo := _todo(record, scene, shot, metrics))]
    try:
        for shot, todo in track(work, description="score"):
            _measure_shot(record, scene, shot, todo, metrics, tools)
    finally:
        known = {**before, **{name: digest for name, digest in weights.items() if digest}}
        if work:
            record.save(time.monotonic() - began, weights=known)
    return sum(len(todo) for _, todo in work)


def _todo(record: Record, scene: Scene, shot: Shot, metrics: Mapping[str, Metric]) -> dict[str, list[str]]:
    found = {name: record.lacking(name, shot, metrics) for name in scene.contestants}
    return {name: lacking for name, lacking in found.items() if lacking}


def _measure_shot(
    record: Record,
    scene: Scene,
    shot: Shot,
    todo: Mapping[str, Sequence[str]],
    metrics: Mapping[str, Metric],
    tools: Tools,
) -> None:
    caption, reference = scene.captions[shot], scene.references.get(shot)
    guide = Footage(reference) if reference else None
    takes: dict[str, Footage] = {}
    for name in scene.contestants:
        video = record.video(name, shot)
        assert video is not None, f"{name} has no video of {shot}"
        takes[name] = Footage(video, caption, guide, takes[scene.contestants[0]] if takes else None)
    for name, lacking in todo.items():
        scores: dict[str, float] = {}
        unmeasured: dict[str, str] = {}
        for metric in lacking:
            try:
                scores[metric] = metrics[metric].measure(takes[name], tools)
            except UnmeasurableError as error:
                unmeasured[metric] = str(error)
        record.add(name, shot, scores, unmeasured)
