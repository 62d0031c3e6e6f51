"""Requests take turns at the database: those that wait while one transaction runs share the next.

Looking never waits for a commit. An answer is acknowledged once the transaction that holds it is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from densedpo.annotate.labelling import Labelling
from densedpo.annotate.session import admitted, find_person, login_of
from densedpo.annotate.tasks import RefusedError
from densedpo.store.batches import Batches
from densedpo.store.people import Person

T = TypeVar("T")
Job = Callable[[Labelling, Person], T]  # quick: others wait while it runs


class Turns:
    """One thread that looks and one that writes, each with a `Labelling` that works in the transaction at hand."""

    def __init__(self, labelling: Labelling) -> None:
        self.lookers = Batches(labelling.project, refusal=RefusedError)
        self.writers = Batches(labelling.project, "label", "assignment", refusal=RefusedError)
        self.looking = labelling.within(self.lookers.project)
        self.writing = labelling.within(self.writers.project)


class Turn:
    """A request's turn. Who asks is looked up in the same transaction; as `member`, RefusedError for whoever is not."""

    def __init__(self, request: Request) -> None:
        self._turns: Turns = request.app.state.turns
        self._alone: Person | None = request.app.state.alone
        self._login = login_of(request)

    async def look(self, job: Job[T]) -> T:
        """Do a job that writes nothing."""
        turns = self._turns
        return await asyncio.wrap_future(turns.lookers.submit(lambda: self._do(turns.looking, job)))

    async def write(self, job: Job[T]) -> T:
        """Do a job; what it wrote is durable when this returns."""
        turns = self._turns
        return await asyncio.wrap_future(turns.writers.submit(lambda: self._do(turns.writing, job)))

    def _do(self, labelling: Labelling, job: Job[T]) -> T:
        return job(labelling, admitted(self._alone or find_person(labelling.project, self._login)))


async def _turn(request: Request) -> Turn:
    return Turn(request)


MembersTurn = Annotated[Turn, Depends(_turn)]
