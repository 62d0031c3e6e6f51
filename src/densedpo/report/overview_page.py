"""The first page: what the project holds, what came of it, what ran and how to do it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from densedpo.report.results_page import limits
from densedpo.report.results_page import verdict as results_verdict
from densedpo.report.runs import Run
from densedpo.report.subject import Subject
from densedpo.report.verdicts import findings, inside, verdict


def overview_page(subject: Subject, out: Path) -> dict[str, Any]:
    """Figures in words, the runs, and the settings."""
    results = subject.figures["results"]
    others = results["contestants"][1:] if results else []
    return {
        "results": results,
        "still": {other: _suspect(results, other) for other in others},
        "limits": limits,
        "verdicts": [(other, verdict(results, other), findings(results, other)) for other in others],
        "ran": [_ran(subject, run) for run in _runs(subject)],
        "commands": subject.commands,
        "settings": {stage: list(flat(values)) for stage, values in subject.figures["settings"].items()},
    }


def _suspect(results: Mapping[str, Any], other: str) -> list[str]:
    """What has got better as it does when things stand still, while motion has not been shown to be kept."""
    return [inside(title) for title in results_verdict(results, other).suspect]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as rows of dotted key and value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _runs(subject: Subject) -> list[Run]:
    return [*subject.trainings, *(run for run in (subject.evaluation, subject.agreement) if run)]


def _ran(subject: Subject, run: Run) -> dict[str, Any]:
    """One run in a row: its kind and page, what it was, and the seconds it took, if known."""
    figures = subject.figures
    if run is subject.evaluation:
        told = f"{figures['videos']:,} videos of {figures['prompts']:,} prompts scored"
        kind, page = "evaluation", "results.html"
    elif run is subject.agreement:
        kind, page, told = "agreement", "labels.html", "labellers compared"
    else:
        kind, page, found = "training", f"training.html#{run.name}", figures["trainings"][run.name]
        told = (
            f"{found['steps']:,} steps on {found['pairs']:,} pairs" if found["pairs"] else f"{found['steps']:,} steps"
        )
        if found["status"] == "begun":
            told += ", not finished"
    return {"kind": kind, "name": run.name, "page": page, "told": told, "seconds": run.facts.get("seconds")}
