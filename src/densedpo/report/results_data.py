"""What the results page's scripts work on: every clip and its scores, as one compact block of JSON inside the page."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from densedpo.errors import UserError
from densedpo.progress import track
from densedpo.report.media import strip
from densedpo.report.runs import Run, Score
from densedpo.store.project import Project

Place = tuple[int, int]  # number of the prompt, seed
Clip = tuple[str, float, int]  # address relative to the page, frames per second, frames
WRITERS = 4  # clips written at once at most: each is held in memory


def clip_data(
    project: Project, evaluation: Run, results: Mapping[str, Any], metrics: Sequence[str], out: Path
) -> Markup:
    """The block, safe inside a script element whatever prompts and names say. Clips are written into `out/media`.

    `shots` are `[prompt's position, its number, seed]`. `scores` and `clips` hold for each contestant one entry a shot:
    `[a number or null for each metric]` and `[address, frames per second, frames]`; null where there is none.
    """
    rows = {(row.contestant, *row.key): row for row in evaluation.scores()}
    prompts = {row.prompt_index: row.prompt for row in rows.values()}
    shots = sorted({row.key for row in rows.values()})
    position = {number: place for place, number in enumerate(sorted(prompts))}
    contestants: list[str] = results["contestants"]
    takes = {name: [rows.get((name, *shot)) for shot in shots] for name in contestants}
    written = _clips(evaluation, [row for each in takes.values() for row in each if row], out)
    data = {
        "baseline": results["baseline"],
        "contestants": contestants,
        "metrics": [_about(name, results["metrics"][name]) for name in metrics],
        "prompts": [prompts[number] for number in sorted(prompts)],
        "shots": [[position[number], number, seed] for number, seed in shots],
        "scores": {name: [_scores(row, metrics) for row in each] for name, each in takes.items()},
        "clips": {name: [row and written.get((name, *row.key)) for row in each] for name, each in takes.items()},
        "remake": remake_commands(project, evaluation, contestants),
    }
    return htmlsafe_json_dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def remake_commands(project: Project, evaluation: Run, contestants: Sequence[str]) -> dict[str, str | None]:
    """Contestant → the command that makes one of its clips again, `CLIP` standing for the name of the clip's file.

    None for a contestant whose clips were brought from elsewhere, which no model here can make.
    """
    brought = {text.partition("=")[0] for text in evaluation.settings.get("videos") or ()}
    command = f"densedpo remake {shlex.quote(project.root.resolve().name)}"
    where = f"--evaluation {shlex.quote(evaluation.name)}"
    return {name: None if name in brought else f"{command} {shlex.quote(name)}/CLIP {where}" for name in contestants}


def _clips(evaluation: Run, rows: Sequence[Score], out: Path) -> dict[tuple[str, int, int], Clip]:
    """The clips that are there and can be read, each as a file that any browser plays."""
    with ThreadPoolExecutor(min(WRITERS, os.cpu_count() or 1)) as pool:
        clips = pool.map(lambda row: _clip(evaluation, row, out), rows)
        found = zip(rows, track(clips, len(rows), "clips"), strict=True)
        return {(row.contestant, *row.key): clip for row, clip in found if clip}


def _clip(evaluation: Run, row: Score, out: Path) -> Clip | None:
    file = (evaluation.folder / row.video).resolve()
    if not file.is_relative_to(evaluation.folder.resolve()) or not file.is_file():
        return None  # a run's clips lie in its own folder, and they may have been removed to save space
    try:
        video = strip(out, f"{row.contestant}-{row.prompt_index:04d}-{row.seed}", {row.contestant: file})
    except UserError:
        return None
    return video.file, round(video.fps, 3), round(video.seconds * video.fps)


def _about(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name} | {key: about[key] for key in ("title", "aspect", "better", "amount")}


def _scores(row: Score | None, metrics: Sequence[str]) -> list[float | None] | None:
    """To six digits: more cannot be seen."""
    if row is None:
        return None
    return [float(f"{row.scores[name]:.6g}") if name in row.scores else None for name in metrics]
