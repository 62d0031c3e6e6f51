"""Processes that begin with torch, diffusers and PEFT loaded: a new interpreter spends seconds on that before its work.

They come from a server that has imported those and run nothing (`multiprocessing`'s fork server), each with its own
environment and file for what it says. One may be told when to kill itself: it looks for that moment every millisecond,
so a test need not be quick enough to hit it, however busy the machine is.
"""

import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PATIENCE = 900  # seconds; long for a busy machine
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["densedpo.demo", "densedpo.models.wan", "densedpo.models.load", "densedpo.cli"])

Moment = tuple[Callable[..., bool], tuple[Any, ...]]  # a function of a module and its arguments


class Forked:
    """A process that calls `work(*arguments)`; `deadly` is when it kills itself, `said` the file of its output."""

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: Any,
        said: Path,
        environment: Mapping[str, str] | None = None,
        deadly: Moment | None = None,
    ) -> None:
        self._said = said
        told = (work, arguments, said, {**os.environ, **(environment or {})}, deadly)
        self._process: BaseProcess = _SERVER.Process(target=_begin, args=told)
        self._process.start()

    def wait(self) -> int:
        """Wait for its end; the exit code, and minus the signal's number if a signal ended it."""
        self._process.join(PATIENCE)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise TimeoutError(f"not done after {PATIENCE} s:\n{self.said}")
        return code

    @property
    def said(self) -> str:
        return self._said.read_text()


def densedpo(*words: str) -> None:
    """`densedpo WORDS`, as typed by a user."""
    from densedpo.cli import run

    sys.exit(run(words))


def lines_in(file: Path, count: int) -> bool:
    """Whether the file has so many lines already."""
    return file.exists() and file.read_bytes().count(b"\n") >= count


def any_of(folder: Path, pattern: str) -> bool:
    """Whether the folder has such a file already."""
    return any(folder.glob(pattern))


def _begin(
    work: Callable[..., object],
    arguments: tuple[Any, ...],
    said: Path,
    environment: dict[str, str],
    deadly: Moment | None,
) -> None:
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    if deadly:
        threading.Thread(target=_die_when, args=deadly, daemon=True).start()
    work(*arguments)


def _die_when(reached: Callable[..., bool], arguments: tuple[Any, ...]) -> None:
    there = False
    while not there:
        with suppress(OSError, sqlite3.Error):  # what is looked at may be half there
            there = reached(*arguments)
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
