"""What a report is about: a project, its runs, and the figures that all pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densedpo.report.outcomes import PairOutcome
from densedpo.report.runs import Run
from densedpo.store.project import Project


@dataclass(frozen=True)
class Subject:
    """`figures` is what summary.json holds. `trainings` are all training runs, the chosen one first."""

    project: Project
    figures: Mapping[str, Any]
    outcomes: Sequence[PairOutcome]
    trainings: Sequence[Run]
    evaluation: Run | None
    agreement: Run | None
    commands: Sequence[str]


# Fills in what a page's template needs, and writes its media into the report's folder. None: there is no such page.
Builder = Callable[[Subject, Path], dict[str, Any] | None]
