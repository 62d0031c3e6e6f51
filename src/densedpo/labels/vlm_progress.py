"""Progress of labelling by a judge, with what it costs; on standard error, like `densedpo.progress`."""

import os
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """How many of `total` labels are made, the rate, the time left, and the money spent on this judge so far.

    A bar on a terminal, else a line about every ten seconds; nothing when DENSEDPO_QUIET is set.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._started = self._last = time.monotonic()
        self._quiet = bool(os.environ.get("DENSEDPO_QUIET"))
        columns = (TextColumn("label vlm"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
        show = sys.stderr.isatty() and not self._quiet
        self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) if show else None
        self._task = self._bar.add_task("", total=total, told="") if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, money: float | None) -> None:
        """One more label is made; `money` is what was spent in all, None without prices."""
        self._done += 1
        now = time.monotonic()
        told = f"{self._done / max(now - self._started, 1e-9):.3g}/s"
        if money is not None:
            told += f", {money:.2f} spent"
        if self._bar and self._task is not None:
            self._bar.update(self._task, advance=1, told=told)
        elif not self._quiet and now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            minutes, rest = divmod(round((self._total - self._done) * (now - self._started) / self._done), 60)
            line = f"label vlm: {self._done}/{self._total}, {told}, {minutes}:{rest:02d} left"
            print(line, file=sys.stderr, flush=True)
