"""Progress of long loops, on standard error so that standard output stays machine-readable."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


def track(iterable: Iterable[Item], total: int | None = None, description: str = "") -> Iterator[Item]:
    """Yield the items and show how many are done, the rate, and the time left.

    A bar when standard error is a terminal, else a plain line about every ten seconds; nothing at all when the
    environment variable DENSEDPO_QUIET is set, or in all but the first of several processes. `total` defaults to
    `len(iterable)` where that exists.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if os.environ.get("DENSEDPO_QUIET") or os.environ.get("RANK", "0") != "0":
        return iter(iterable)
    if sys.stderr.isatty():
        return _bar(iterable, total, description)
    return _lines(iterable, total, description)


def _bar(iterable: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _lines(iterable: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    started = last = time.monotonic()
    for done, item in enumerate(iterable):
        now = time.monotonic()
        if done and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(_line(description, done, total, now - started), file=sys.stderr, flush=True)
        yield item


def _line(description: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / seconds
    if total is None:
        return f"{description}: {done}, {rate:.3g}/s"
    minutes, rest = divmod(round((total - done) / rate), 60)
    return f"{description}: {done}/{total}, {rate:.3g}/s, {minutes}:{rest:02d} left"


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")
