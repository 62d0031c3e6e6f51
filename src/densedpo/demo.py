"""The whole loop on the embedded tiny world: clips, pairs, labels, training, evaluation, report.

It calls the very stages that a user's own project runs. Stopped at any point and run again, it goes on and ends with
the same figures.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.run import evaluate
from densedpo.files import write_text_atomic
from densedpo.ingest import IngestSettings, ingest
from densedpo.labels import OracleLabelSettings, label_oracle
from densedpo.models import load_model
from densedpo.models.identity import versions
from densedpo.pairs import PairSettings, PreviewSettings
from densedpo.pairs.encode import encode
from densedpo.pairs.make import make_pairs
from densedpo.pairs.preview import preview_eta
from densedpo.progress import track
from densedpo.report import build_report
from densedpo.store.project import Project, ProjectSettings
from densedpo.tinyworld import world
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from densedpo.video.io import write_video

Done = TypeVar("Done")
RUN, EVALUATION = "dense", "evaluation"
WORLD_SEED = 7  # of the guide clips; none of them was among the tiny model's training clips


@dataclass(frozen=True)
class Size:
    """How much of everything the demo does."""

    clips: int
    train: TrainSettings
    prompts: int
    seeds_per_prompt: int


FULL = Size(clips=480, train=TrainSettings(steps=160, lr=2e-4, anchor=10), prompts=44, seeds_per_prompt=4)
QUICK = Size(clips=48, train=TrainSettings(steps=30, lr=2e-4, anchor=10), prompts=24, seeds_per_prompt=1)


class Clock:
    """Seconds spent in each stage, kept in a file so that a restart adds to them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def time(self, stage: str, work: Callable[[], Done]) -> Done:
        """Do the work and add its seconds to the stage."""
        began = time.monotonic()
        result = work()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 1)
        write_text_atomic(self._path, json.dumps(self.seconds, indent=2) + "\n")
        return result


def run_demo(out: Path, size: Size, say: Callable[[str], None]) -> Path:
    """Run the loop into the folder `out`; returns the report's page. `say` is told what was found, stage by stage.

    Raises:
        UserError: `out` holds a demo of another size; the disk is full; another process runs the same demo.
    """
    clock = Clock(out / "seconds.json")
    project = Project.create(out / "project", ProjectSettings())
    with project.lock("demo"):
        clock.time("ingest", lambda: _ingest(project, out / "clips", size.clips))
        model = clock.time("load model", lambda: load_model(project.settings.model))
        clock.time("encode", lambda: encode(project, model))
        preview = out / "preview-eta.png"
        if not preview.exists():
            clock.time("preview-eta", lambda: preview_eta(project, model, PreviewSettings(clips=2), preview))
        made = clock.time("pairs", lambda: make_pairs(project, model, PairSettings()))
        say(f"{made.planned} guided pairs, {made.near_identical} of them near-identical")
        labels = clock.time("label", lambda: label_oracle(project, OracleLabelSettings(split="train")))
        say(f"{labels.labels} segment labels added, {labels.ties} of them ties")
        trained = clock.time("train", lambda: train(project, model, size.train, RUN))
        say(f"adapter trained on {trained.pairs} pairs in {trained.steps} steps")
        asked = EvaluateSettings(
            name=EVALUATION, runs=(RUN,), count=size.prompts, seeds_per_prompt=size.seeds_per_prompt
        )
        clock.time("evaluate", lambda: evaluate(project, asked))
        extra: dict[str, Any] = {"seconds": clock.seconds, "versions": versions(), "commands": commands(size)}
        return clock.time("report", lambda: build_report(project, out / "report", RUN, EVALUATION, extra))


def commands(size: Size) -> list[str]:
    """What does the same, stage by stage."""
    return [
        "densedpo init my-project",
        "densedpo ingest my-project my-clips",
        "densedpo pairs my-project",
        "densedpo label oracle my-project --split train",
        f"densedpo train my-project --steps {size.train.steps} --lr {size.train.lr} --anchor {size.train.anchor:g}",
        f"densedpo evaluate my-project --runs {RUN} --count {size.prompts} --seeds-per-prompt {size.seeds_per_prompt}",
        "densedpo report my-project",
    ]


def _ingest(project: Project, folder: Path, count: int) -> None:
    """Render real clips of the world into a folder as a user would bring one, and take it in."""
    if sum(1 for _ in project.clips()) >= count:
        return
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["file_name", "caption", "source", "licence"])
    folder.mkdir(parents=True, exist_ok=True)
    for item in track(range(count), description="drawing clips"):
        scene = world.draw_scene(WORLD_SEED, item, "base")
        path = folder / f"clip-{item:04d}.mp4"
        rows.writerow([path.name, scene.attributes.caption, "densedpo tiny world", "CC0-1.0"])
        if not path.exists():
            write_video(path, world.render(scene), world.FPS)
    write_text_atomic(folder / "metadata.csv", table.getvalue())
    ingest(project, folder, IngestSettings())
