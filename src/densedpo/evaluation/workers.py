"""Processes that measure videos for an evaluation: tasks in, answers out, one JSON line each.

A worker runs the metrics that need no weights. It ends when its input does, so none outlives a run that was killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from densedpo.errors import UserError
from densedpo.metrics import Footage, Metric, Tools, UnmeasurableError, find_metrics

SHOTS_PER_WORKER = 4  # starting a process takes as long as measuring a few clips

Said = dict[str, tuple[dict[str, float], dict[str, str]]]  # contestant -> scores, and why others are missing


@dataclass(frozen=True)
class Task:
    """A shot: every contestant's video, the first being the others' partner, and which metrics are `todo` for whom."""

    videos: Mapping[str, str]
    caption: str | None
    reference: str | None
    todo: Mapping[str, Sequence[str]]


def look(task: Task, metrics: Mapping[str, Metric], tools: Tools) -> Said:
    """Measure a shot, each of its videos decoded once. Raises UserError for one that cannot be decoded."""
    guide = Footage(Path(task.reference)) if task.reference else None
    takes: dict[str, Footage] = {}
    for name, video in task.videos.items():
        takes[name] = Footage(Path(video), task.caption, guide, next(iter(takes.values()), None))
    said: Said = {name: ({}, {}) for name in task.todo}
    for name, wanted in task.todo.items():
        scores, unmeasured = said[name]
        for metric in wanted:
            try:
                scores[metric] = metrics[metric].measure(takes[name], tools)
            except UnmeasurableError as error:
                unmeasured[metric] = str(error)
    return said


def workers_for(shots: int, asked: int | None) -> int:
    """How many processes: as asked, else one for each core, but none for fewer than a few shots."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or max(1, min(cores, shots // SHOTS_PER_WORKER))


class Workers:
    """As many processes as asked, as a context manager."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()

    def __enter__(self) -> Workers:
        command = [sys.executable, "-m", __name__]
        # A session of their own, so that Ctrl-C stops this process alone, which then ends them.
        self._all = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                start_new_session=True,
            )
            for _ in range(self._count)
        ]  # fmt: skip
        for worker in self._all:
            self._free.put(worker)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._all:
            if kind is not None:
                worker.kill()
            worker.communicate()

    def look(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Said]]:
        """Each task with what was measured, in the order in which they are done. Raises UserError as `look`."""
        with ThreadPoolExecutor(self._count) as pool:
            asked = {pool.submit(self._ask, task): task for task in tasks}
            try:
                for done in as_completed(asked):
                    yield asked[done], done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, task: Task) -> Said:
        worker = self._free.get()
        try:
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write(json.dumps(asdict(task)) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except OSError:
            answer = ""
        finally:
            self._free.put(worker)
        if not answer:
            raise UserError(
                f"a process that measured {next(iter(task.videos.values()))} has died, of too little memory perhaps; "
                "run the same command with fewer --workers"
            )
        said = json.loads(answer)
        if "error" in said:
            raise UserError(said["error"])
        return {name: (scores, unmeasured) for name, (scores, unmeasured) in said["said"].items()}


def main() -> None:
    """Answer until the input ends."""
    metrics, tools = find_metrics(), Tools()
    for line in sys.stdin:
        try:
            answer: dict[str, object] = {"said": look(Task(**json.loads(line)), metrics, tools)}
        except UserError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
