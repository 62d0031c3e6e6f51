"""Scores of all videos of an evaluation: each clip is decoded once for all metrics."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from densedpo.evaluation.record import Record
from densedpo.evaluation.shots import Shot
from densedpo.evaluation.workers import Said, Task, Workers, look, workers_for
from densedpo.metrics import Metric, Tools, find_metrics
from densedpo.progress import track


@dataclass(frozen=True)
class Scene:
    """What is measured: the shots, whose first contestant is every other one's partner, and what belongs to them."""

    contestants: Sequence[str]
    shots: Sequence[Shot]
    captions: Mapping[Shot, str | None]
    references: Mapping[Shot, Path]


def measure(
    record: Record, scene: Scene, metrics: Mapping[str, Metric], tools: Tools, workers: int | None = None
) -> int:
    """Measure what was not tried yet and return how many videos that were. A stop keeps what was measured.

    Metrics without weights run in `workers` processes if those are more than one (None: as many as make sense). A video
    without a value of a metric gets none, and `unmeasured` says why. Raises UserError for a video that cannot be
    decoded.
    """
    began = time.monotonic()
    made = {name: " ".join(filter(None, (m.version, *map(tools.digest, m.needs)))) for name, m in metrics.items()}
    before = record.fact("weights") or {}  # versions of metrics, too
    record.forget_metrics({name for name in made if before.get(name, "") != made[name]})
    work = {shot: task for shot in scene.shots if (task := _task(record, scene, shot, metrics)).todo}
    if not work:
        return 0
    record.save(weights={**before, **{name: digest for name, digest in made.items() if digest}})
    try:
        count = workers_for(len(work), workers)
        for shot, said in _looked(work, metrics, tools, count):
            for name, (scores, unmeasured) in said.items():
                record.add(name, shot, scores, unmeasured)
    finally:
        record.save(time.monotonic() - began)
    return sum(len(task.todo) for task in work.values())


def _looked(
    work: Mapping[Shot, Task], metrics: Mapping[str, Metric], tools: Tools, workers: int
) -> Iterator[tuple[Shot, Said]]:
    """Each shot with what was measured of it; a shot comes twice if some of its metrics need this process."""
    found = find_metrics()
    light = {name for name in metrics if name in found and not metrics[name].needs} if workers > 1 else set()
    apart = {shot: task for shot, todo in work.items() if (task := _part(todo, light)).todo}
    here = {shot: task for shot, todo in work.items() if (task := _part(todo, metrics.keys() - light)).todo}
    if apart:
        shots = {id(task): shot for shot, task in apart.items()}
        with Workers(workers) as pool:
            for task, said in track(pool.look([*apart.values()]), len(apart), "score"):
                yield shots[id(task)], said
    for shot, task in track(here.items(), len(here), "score"):
        yield shot, look(task, metrics, tools)


def _part(task: Task, metrics: Collection[str]) -> Task:
    """The task with only these metrics."""
    parts = {name: [metric for metric in todo if metric in metrics] for name, todo in task.todo.items()}
    return replace(task, todo={name: part for name, part in parts.items() if part})


def _task(record: Record, scene: Scene, shot: Shot, metrics: Mapping[str, Metric]) -> Task:
    lacking = {name: record.lacking(name, shot, metrics) for name in scene.contestants}
    videos = {name: record.video(name, shot) for name in scene.contestants}
    assert all(videos.values()), f"somebody has no video of {shot}"
    reference = scene.references.get(shot)
    return Task(
        {name: str(video) for name, video in videos.items()},
        scene.captions[shot],
        str(reference) if reference else None,
        {name: todo for name, todo in lacking.items() if todo},
    )
