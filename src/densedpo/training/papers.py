"""What a run's folder says of itself: its curves as a picture, and a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from densedpo.diffusion.protocol import VideoModel
from densedpo.files import write_text_atomic
from densedpo.models.card import About, Base, Figures, card
from densedpo.models.lora import WEIGHTS
from densedpo.store.labellers import labels_by_kind
from densedpo.store.project import Project
from densedpo.svg import Line, Panel, picture
from densedpo.training.settings import TrainSettings

CURVES = "curves.svg"
CARD = "README.md"
# Title, hint, (key of the log, name) of each curve, reference value.
PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...], float | None], ...] = (
    ("Loss", "dashed: ln 2, indifference", (("loss", "loss"), ("validation_loss", "validation")), math.log(2)),
    ("Accuracy", "ranked as labelled; dashed: chance", (("accuracy", "frames"), ("pair_accuracy", "pairs")), 0.5),
    ("Argument of the sigmoid", "median size: below 0.1 little has happened", (("inside_median", "size"),), None),
    ("Error", "minus the reference's", (("winner_delta", "winners"), ("loser_delta", "losers")), 0.0),
    ("Loser-dominated", "share of frames", (("loser_dominated", "share"),), None),
    ("Gradient norm", "before clipping", (("grad_norm", "norm"),), None),
)
LOSS_OF_SFT = ("Loss", "error of the prediction", (("loss", "loss"),), None)


def draw_curves(run: Path) -> Path:
    """Draw the log of a run into its `curves.svg`; a log without a line has none yet."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    preference = any("inside_median" in row for row in log)
    panels = PANELS if preference else (LOSS_OF_SFT, PANELS[-1])
    if log:
        drawn = [panel for each in panels if (panel := _panel(log, *each)).lines]
        write_text_atomic(run / CURVES, picture(f"Training of {run.name}", drawn))
    return run / CURVES


def _panel(
    log: Sequence[Mapping[str, Any]], title: str, hint: str, keys: Sequence[tuple[str, str]], reference: float | None
) -> Panel:
    lines: list[Line] = []
    for tone, (key, name) in enumerate(keys):
        points = [(float(row["step"]), float(row[key])) for row in log if key in row]
        even = smooth(points, max(1, len(points) // 15))
        if even != points:
            lines.append(Line(name, points, tone, faint=True))
        lines += [Line(name, even, tone)] if points else []
    return Panel(title, hint, lines, x_name="step", reference=reference)


def smooth(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """The mean of the `2 * (window // 2) + 1` values around each point; fewer at the ends."""
    half, sums = window // 2, [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    even = []
    for place, (at, value) in enumerate(points):
        low, high = max(0, place - half), min(len(points), place + half + 1)
        even.append((at, (sums[high] - sums[low]) / (high - low) if half else value))
    return even


def write_papers(project: Project, model: VideoModel, settings: TrainSettings, run: Path) -> None:
    """Write the finished run's curves and its card, and into `run.json` who gave the labels."""
    draw_curves(run)
    facts = json.loads((run / "run.json").read_text())
    if settings.method != "sft" or settings.sft_on == "winners":
        modes = ("independent",) if settings.method == "vanilla" else ("guided",)
        facts["labels"] = labels_by_kind(project, "train", modes)
        write_text_atomic(run / "run.json", json.dumps(facts, indent=2) + "\n")
    about = About(
        project=project,
        title=f"{project.root.resolve().name} {run.name}",
        base=Base.of(project.settings.model, model.folder, model.name),
        facts=facts,
        settings=settings.model_dump(mode="json"),
        rank=settings.rank,
        alpha=float(settings.rank if settings.alpha is None else settings.alpha),
        expert=facts["expert"],
        figures=Figures.of(run / "log.jsonl"),
        formats={"diffusers": WEIGHTS},
        place="adapter",
        curves=CURVES,
    )
    write_text_atomic(run / CARD, card(about))
