"""Which pairs still have a free slot, and which comes next: kept in memory, so that nobody's turn reads them all.

What is in memory is read anew from time to time, and may be a moment old: other servers give out pairs, leases run out,
pairs come to the project. So it only proposes; `assignments.take` decides in the database.
"""

import bisect
import threading
import time
from collections.abc import Collection

import sqlalchemy as sa

from densedpo.store.assignments import Queue
from densedpo.store.people import reading
from densedpo.store.project import Project
from densedpo.store.schema import utc_now
from densedpo.store.tables import assignment, gold, pair

FRESH_SECONDS = 1.0  # how long what was read counts as fresh, at least; and
SHARE = 0.05  # of the time may go into reading it


class Places:
    """Pairs with a free slot, those that somebody has begun first, the others in id order. Threads may share it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._taken: dict[str, int] = {}  # pair -> slots taken, where one is free
        self._levels: dict[int, list[str]] = {}  # slots taken -> ids, sorted
        self._read, self._stale = float("-inf"), float("-inf")
        self._guard, self._reading = threading.Lock(), threading.Lock()

    @property
    def stale(self) -> bool:
        """Whether it is time to read again."""
        return time.monotonic() > self._stale

    def refresh(self, project: Project) -> None:
        """Read all from the database; not again if somebody else has begun to since this was asked for."""
        asked = time.monotonic()
        with self._reading:
            if self._read > asked:
                return
            began = time.monotonic()
            with reading(project) as connection:
                taken = {row[0]: row[1] for row in connection.execute(_free(self._queue))}
            levels: dict[int, list[str]] = {}
            for id in sorted(taken):
                levels.setdefault(taken[id], []).append(id)
            with self._guard:
                self._taken, self._levels, self._read = taken, levels, began
            now = time.monotonic()
            self._stale = now + max(FRESH_SECONDS, (now - began) / SHARE)

    def next(self, had: Collection[str]) -> str | None:
        """The pair that should be labelled next by somebody who `had` these."""
        with self._guard:
            ordered = (id for taken in sorted(self._levels, reverse=True) for id in self._levels[taken])
            return next((id for id in ordered if id not in had), None)

    def count(self, had: Collection[str], project: Project) -> int:
        """How many pairs somebody who `had` these could still get; read first if nobody has yet."""
        if self._read == float("-inf"):
            self.refresh(project)
        with self._guard:
            return len(self._taken) - sum(id in self._taken for id in had)

    def give(self, id: str) -> None:
        """One more slot of the pair is taken."""
        with self._guard:
            if id not in self._taken:
                return
            taken = self._taken.pop(id)
            ids = self._levels[taken]
            del ids[bisect.bisect_left(ids, id)]
            if taken + 1 < self._queue.overlap:
                self._taken[id] = taken + 1
                bisect.insort(self._levels.setdefault(taken + 1, []), id)


def _free(queue: Queue) -> sa.Select[str, int]:
    """The pairs with a free slot, and how many of their slots are taken."""
    expired = (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
    held = (
        (assignment.c.pair == pair.c.id) & (assignment.c.state != "lapsed") & (assignment.c.kind == "work") & ~expired
    )
    taken = sa.func.count(assignment.c.id)
    query = sa.select(pair.c.id, taken).outerjoin(assignment, held)
    query = query.where(pair.c.id.not_in(sa.select(gold.c.pair)))  # their answers are known
    settled = sa.select(assignment.c.pair).where(assignment.c.kind == "review", assignment.c.state == "done")
    query = query.where(pair.c.id.not_in(settled))
    if queue.split is not None:
        query = query.where(pair.c.split == queue.split)
    if not queue.near_identical:
        query = query.where(~pair.c.near_identical)
    return query.group_by(pair.c.id).having(taken < queue.overlap)
