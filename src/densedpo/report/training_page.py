"""The page about training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from densedpo.report import charts
from densedpo.report.curves import Panel, noise_panels, readout_rows, training_panels
from densedpo.report.overview_page import flat
from densedpo.report.subject import Subject


def training_page(subject: Subject, out: Path) -> dict[str, Any]:
    """Every training run with its curves, the chosen one first."""
    runs = []
    for run in subject.trainings:
        log = run.log()
        rows = readout_rows(len(log))
        panels = [*training_panels(log, rows), *noise_panels(log, rows)] if log else []
        runs.append(
            {
                "name": run.name,
                "panels": panels,
                "readout": _readout([log[row]["step"] for row in rows], panels),
                "settings": list(flat(run.settings)),
                "seconds": sum(line.get("seconds") or 0.0 for line in log),
            }
        )
    return {"runs": runs}


def _readout(steps: list[int], panels: list[Panel]) -> dict[str, Any]:
    """What the pointer over a curve tells: some steps, and for each panel and line the values there."""
    return {
        "steps": steps,
        "panels": [[line.values for line in panel.lines] for panel in panels],
        "left": charts.LEFT / charts.WIDTH,
        "right": 1 - charts.RIGHT / charts.WIDTH,
    }
