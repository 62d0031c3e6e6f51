"""Many small jobs in few transactions: those that wait while one is committed share the next.

A commit waits for the disk, so a server that commits each answer alone takes no more of them than the disk has turns.
A job is done once the transaction that holds it is committed; nobody is told of it before.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from densedpo.store.people import reading, writing
from densedpo.store.project import Project

MOST = 64  # jobs in one transaction

T = TypeVar("T")
Job = Callable[[], Any]


class Batches:
    """Does jobs one after another in a thread of its own, with `project` joined to the transaction of the moment."""

    def __init__(self, outer: Project, *tables: str, refusal: type[Exception]) -> None:
        """`tables` are those that jobs write, none if they only look; `refusal` is what jobs raise to say no."""
        self._joined = _Joined(outer._engine.dialect)
        self.project = Project(outer.root, outer.settings, cast(sa.Engine, self._joined))
        self._outer, self._tables, self._refusal = outer, tables, refusal
        self._waiting: deque[tuple[Job, Future[Any]]] = deque()
        self._guard = threading.Lock()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "batches")

    def submit(self, job: Callable[[], T]) -> "Future[T]":
        """Do `job`, which works on `project`, soon; it may be done over if others in its transaction fail.

        The result is there when all that the job wrote is committed. What the job raises undoes its writing alone.
        """
        future: Future[T] = Future()
        with self._guard:
            self._waiting.append((job, future))
            idle, self._busy = not self._busy, True
        if idle:
            self._thread.submit(self._work)
        return future

    def _work(self) -> None:
        while jobs := self._next():
            self._finish([(job, future) for job, future in jobs if future.set_running_or_notify_cancel()])

    def _next(self) -> list[tuple[Job, "Future[Any]"]]:
        with self._guard:
            jobs = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            self._busy = bool(jobs)
            return jobs

    def _finish(self, jobs: list[tuple[Job, "Future[Any]"]]) -> None:
        """Do the jobs in one transaction; if that fails, each in its own, so that none fails by another's fault."""
        try:
            with self._transaction():
                outcomes = [self._outcome(job) for job, _ in jobs]
        except Exception as error:
            if len(jobs) == 1:
                jobs[0][1].set_exception(error)
                return
            for each in jobs:
                self._finish([each])
            return
        for (_, future), (result, refused) in zip(jobs, outcomes, strict=True):
            if refused is None:
                future.set_result(result)
            else:
                future.set_exception(refused)

    def _outcome(self, job: Job) -> tuple[Any, Exception | None]:
        self._joined.wrote = False
        try:
            return job(), None
        except self._refusal as error:
            if self._joined.wrote:
                raise
            return None, error  # it left nothing to undo

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        begin = writing(self._outer, *self._tables) if self._tables else reading(self._outer)
        with begin as self._joined.connection:
            yield


class _Joined:
    """Stands in for an engine while a transaction is open: whoever would begin one joins it."""

    connection: sa.Connection
    wrote = False

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect = dialect

    def execution_options(self, writing: bool) -> "_Joined":
        self.wrote |= writing
        return self

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        yield self.connection
