"""A run's log: log.jsonl, the trackers, and the guard that reads along."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.training.guard import WINDOW, new_alarms
from densedpo.training.settings import TrainSettings
from densedpo.training.trackers import flat, show, trackers


class Log:
    """Takes a row a step. A process that is not to write only watches, so that the guard stops all of them alike."""

    def __init__(self, run: Path, settings: TrainSettings, k: float, first: int, writes: bool) -> None:
        """`k` multiplies errors in the argument of the sigmoid; `first` is the first step to come."""
        self._run, self._settings, self._k, self._first, self._writes = run, settings, k, first, writes
        self._path = run / "log.jsonl"
        self._rows: list[dict[str, Any]] = []
        if self._path.exists():
            self._rows = [json.loads(line) for line in self._path.read_text().splitlines()[-WINDOW - 1 :]]
        self.alarms = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self._writes:
            self._file = self._open.enter_context(self._path.open("a"))
            self._trackers = self._open.enter_context(trackers(self._settings, self._run, self._first))
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.close()

    def write(self, row: dict[str, Any]) -> None:
        """Keep the row, send it on, ask the guard.

        Raises:
            UserError: the guard is to stop the run.
        """
        self._rows = [*self._rows[-WINDOW:], row]
        alarms = [] if self._settings.guard == "off" else new_alarms(self._rows, self._k)
        self.alarms += len(alarms)
        if alarms:
            row["alarms"] = [asdict(alarm) for alarm in alarms]
        if self._writes:
            print(json.dumps(row), file=self._file, flush=True)
            for tracker in self._trackers:
                tracker.log(flat(row), step=row["step"])
            for alarm in alarms:
                print(f"step {row['step']}: {alarm}", file=sys.stderr)
        if alarms and self._settings.guard == "stop":
            raise UserError(
                f"step {row['step']}: the guard stops this run, {alarms[0]} The same command with --guard warn goes on "
                "from the newest checkpoint"
            )

    def show(self, step: int, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Send pictures, name → `[H, W, 3]`, to the trackers that take any."""
        for tracker in self._trackers if self._writes else ():
            show(tracker, pictures, step)
