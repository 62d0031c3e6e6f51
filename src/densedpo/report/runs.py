"""Read what training and evaluation runs left on disk."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from densedpo.config import read_yaml
from densedpo.errors import UserError
from densedpo.store.project import Project

METRICS = ("visual_quality", "text_alignment", "temporal_consistency", "dynamic_degree")
BASE = "base"


@dataclass(frozen=True)
class Score:
    """One evaluated video. A metric that could not be measured is missing from `scores`."""

    contestant: str
    prompt: str
    prompt_index: int
    seed: int
    video: str
    scores: dict[str, float]

    @property
    def key(self) -> tuple[int, int]:
        """What pairs this video with the other contestants' videos."""
        return self.prompt_index, self.seed


@dataclass(frozen=True)
class Run:
    """One folder under `runs/`: its settings and the facts recorded about it."""

    name: str
    folder: Path
    settings: dict[str, Any]
    facts: dict[str, Any]

    @classmethod
    def open(cls, project: Project, name: str) -> Run:
        """Read `settings.yaml` and `run.json`; UserError if the project has no run of this name."""
        known = sorted(path.name for path in (project.root / "runs").glob("*") if path.is_dir())
        if name not in known:
            raise UserError(f"there is no run named {name!r}; runs of this project: {', '.join(known) or 'none'}")
        folder = project.run_folder(name)
        settings, facts = folder / "settings.yaml", folder / "run.json"
        return cls(
            name=name,
            folder=folder,
            settings=read_yaml(settings) if settings.exists() else {},
            facts=json.loads(facts.read_text("utf-8")) if facts.exists() else {},
        )

    def scores(self) -> list[Score]:
        """Every evaluated video in file order; a video scored again replaces its earlier line."""
        rows: dict[tuple[str, int, int], Score] = {}
        for line in _lines(self.folder / "scores.jsonl"):
            measured = {k: float(v) for k, v in line["scores"].items() if finite(v) is not None}
            score = Score(
                line["contestant"], line["prompt"], line["prompt_index"], line["seed"], line["video"], measured
            )
            rows[score.contestant, *score.key] = score
        return list(rows.values())

    def log(self) -> list[dict[str, Any]]:
        """One record per optimiser step, in order; a step done again after a stop replaces its earlier line."""
        steps = {line["step"]: line for line in _lines(self.folder / "log.jsonl")}
        return [steps[step] for step in sorted(steps)]

    def results(self) -> dict[str, Any] | None:
        """What `results.json` says (docs/evaluation.md); None if the evaluation has not come so far."""
        file = self.folder / "results.json"
        return json.loads(file.read_text("utf-8")) if file.exists() else None


def all_runs(project: Project, file: str) -> list[Run]:
    """The runs whose folder holds `file`, by name; folders that no command can have made are passed over."""
    names = sorted(path.parent.name for path in (project.root / "runs").glob(f"*/{file}"))
    return [Run.open(project, name) for name in names if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)]


def newest_run(project: Project, kind: Literal["training", "evaluation"]) -> str | None:
    """The run of this kind whose run.json was written last; None if the project has none.

    A sweep, which is a search among one run's checkpoints, only comes where there is no other evaluation.
    """
    described = (project.root / "runs").glob("*/run.json")
    facts = {file: json.loads(file.read_text("utf-8")) for file in described}
    found = [file for file in facts if facts[file].get("kind") == kind]
    newest = max(
        found, key=lambda file: ("sweep" not in facts[file], file.stat().st_mtime_ns, file.parent.name), default=None
    )
    return newest.parent.name if newest else None


def finite(value: Any) -> float | None:
    """The value as a float, or None if it is missing, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file; a last line still being written is left out, a missing file has none."""
    if not path.exists():
        return
    *finished, unfinished = path.read_text("utf-8").split("\n")
    lines = finished if _is_cut(unfinished) else [*finished, unfinished]
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path.name}, line {number}: not JSON ({error.msg}); remove the line or run again"
            ) from error
        yield record


def _is_cut(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return True
    return False
