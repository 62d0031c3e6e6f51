"""The page: figures, videos and curves put into templates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.report import charts, words
from densedpo.report.media import CLIPS_SHOWN, clip_cards, pair_cards
from densedpo.report.outcomes import pair_outcomes
from densedpo.report.runs import BASE, METRICS, Run
from densedpo.report.summary import as_json, summarise
from densedpo.store.project import Project

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = ("report.css", "report.js")
READOUT_POINTS = 400  # steps that a pointer over a curve can tell apart


def build_report(
    project: Project,
    out: Path,
    training_run: str | None = None,
    evaluation_run: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write `index.html`, `media/`, its style and script, and `summary.json` into the folder `out`; return the page.

    The folder needs nothing else: it can be copied, zipped, and opened without a server or a network. `extra` may hold
    `seconds` (stage → seconds), `versions` (package → version), and `commands` (the lines that made all this).
    """
    if (out / "project.yaml").exists():
        raise UserError(f"{out} is a project folder; give the report a folder of its own, such as {out / 'report'}")
    figures = summarise(project, training_run, evaluation_run, extra)
    (out / "media").mkdir(parents=True, exist_ok=True)
    page = _environment().get_template("index.html").render(_context(project, out, figures, extra or {}))
    for name in ASSETS:
        shutil.copyfile(TEMPLATES / name, out / name)
    write_text_atomic(out / "summary.json", json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_text_atomic(out / "index.html", page)
    return out / "index.html"


def _context(project: Project, out: Path, figures: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    opened = {stage: Run.open(project, name) for stage, name in figures["runs"].items() if name}
    training, evaluation = opened.get("training"), opened.get("evaluation")
    contestants = figures["contestants"]
    tuned = [name for name in contestants if name != BASE] if BASE in contestants else []
    log = training.log() if training else []
    outcomes = pair_outcomes(project)
    return {
        "figures": figures,
        "name": project.root.resolve().name,
        "metrics": METRICS,
        "tuned": tuned,
        "forest": charts.forest(contestants),
        "clips_shown": CLIPS_SHOWN,
        "clips": clip_cards(evaluation, tuned[0], out) if evaluation and tuned else [],
        "pairs": list(pair_cards(project, outcomes, out)),
        "panels": (panels := charts.training_panels(log)),
        "readout": _readout(log, panels),
        "settings": {stage: list(flat(values)) for stage, values in figures["settings"].items()},
        "commands": as_json(extra.get("commands")) or _commands(figures["runs"]),
    }


def _readout(log: list[dict[str, Any]], panels: list[charts.Panel]) -> dict[str, Any]:
    """What the pointer over a curve tells: some steps, and for each panel and line the values there."""
    keep = slice(None, None, max(1, len(log) // READOUT_POINTS))
    return {
        "steps": [line["step"] for line in log][keep],
        "panels": [[line.values[keep] for line in panel.lines] for panel in panels],
        "left": charts.LEFT / charts.WIDTH,
        "right": 1 - charts.RIGHT / charts.WIDTH,
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as rows of dotted key and value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _commands(runs: Mapping[str, str | None]) -> list[str]:
    again = [
        f"densedpo {command} PROJECT --config PROJECT/runs/{runs[stage]}/settings.yaml"
        for stage, command in (("training", "train"), ("evaluation", "evaluate"))
        if runs[stage]
    ]
    return [*again, "densedpo report PROJECT"]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, BASE=BASE, chart=charts)
    environment.filters.update(number=words.number, percent=words.percent, duration=words.duration)
    return environment
