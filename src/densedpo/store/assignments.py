"""Which pair is whose: every pair has `overlap` slots, a slot is held by one person at a time, for as long as a lease.

A lease that ran out lets somebody else take the slot; until that happens its holder can go on. Pairs that somebody has
begun come first, so that they are complete soon; the others in id order, which is random because ids are hashes.
"""

import datetime
import hashlib
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from densedpo.store.people import reading, utc_in, writing
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, utc_now
from densedpo.store.tables import assignment, clip, pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Which pairs are labelled, how many people label each, and how long a lease lasts."""

    overlap: int = 2
    lease_seconds: float = 1800.0
    split: str | None = None
    near_identical: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A pair in a person's hands. `seen` is the SHA-256 of the file that they are shown."""

    id: str
    pair: str
    person: str
    slot: int
    order_shown: Literal["ab", "ba"]
    seen: str
    state: Literal["open", "done", "lapsed"]
    lease_until: str
    created: str
    finished: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """A person's finished pairs, those still to be had, and the seconds that each of the latest ones took."""

    done: int
    left: int
    seconds: tuple[float, ...]


def order_shown(seed: int, pair_id: str, slot: int) -> Literal["ab", "ba"]:
    """Which member is on the left: drawn for each pair, and the other way round for every second person."""
    first = hashlib.sha256(f"order:{seed}:{pair_id}".encode()).digest()[0]
    return "ab" if (first + slot) % 2 == 0 else "ba"


def find_assignment(project: Project, id: str) -> Assignment | None:
    """The assignment with this id."""
    with reading(project) as connection:
        row = connection.execute(sa.select(assignment).where(assignment.c.id == id)).mappings().first()
    return Assignment(**row) if row else None


def find_pair(project: Project, id: str) -> Pair | None:
    """The pair with this id."""
    with reading(project) as connection:
        row = connection.execute(sa.select(pair).where(pair.c.id == id)).mappings().first()
    return Pair(**row) if row else None


def find_clip(project: Project, id: str) -> Clip | None:
    """The clip with this id."""
    with reading(project) as connection:
        row = connection.execute(sa.select(clip).where(clip.c.id == id)).mappings().first()
    return Clip(**row) if row else None


def resume(project: Project, person: str, queue: Queue) -> Assignment | None:
    """The person's open assignment, the one they touched last, with its lease renewed."""
    with writing(project, "assignment") as connection:
        return _resume(connection, person, queue)


def next_pairs(project: Project, person: str, queue: Queue, limit: int = 1) -> list[Pair]:
    """Pairs with a free slot that this person never had, in the order in which they should be labelled."""
    query, taken = _free(person, queue)
    with reading(project) as connection:
        rows = connection.execute(query.order_by(taken.desc(), pair.c.id).limit(limit)).mappings()
        return [Pair(**{key: value for key, value in row.items() if key != "taken"}) for row in rows]


def take(project: Project, pair_id: str, person: str, seen: str, queue: Queue) -> Assignment | None:
    """Give a free slot of the pair to the person; None if there is none left. An open assignment comes first."""
    with writing(project, "assignment") as connection:
        mine = _resume(connection, person, queue)
        if mine:
            return mine
        of_pair = assignment.c.pair == pair_id
        overdue = of_pair & (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
        connection.execute(sa.update(assignment).where(overdue).values(state="lapsed"))
        rows = connection.execute(sa.select(assignment).where(of_pair)).mappings().all()
        held = {row["slot"] for row in rows if row["state"] != "lapsed"}
        free = [slot for slot in range(queue.overlap) if slot not in held]
        if not free or any(row["person"] == person for row in rows):
            return None
        new = Assignment(
            id=uuid.uuid4().hex,
            pair=pair_id,
            person=person,
            slot=free[0],
            order_shown=order_shown(queue.seed, pair_id, free[0]),
            seen=seen,
            state="open",
            lease_until=utc_in(queue.lease_seconds),
            created=utc_now(),
            finished=None,
        )
        connection.execute(sa.insert(assignment).values(asdict(new)))
        return new


def renew(project: Project, id: str, queue: Queue) -> bool:
    """Start the lease of an open assignment anew; False if it is not open (any more)."""
    return _change(project, id, "open", lease_until=utc_in(queue.lease_seconds))


def finish(project: Project, id: str) -> bool:
    """Close an open assignment; False if it is not open (any more)."""
    return _change(project, id, "open", state="done", finished=utc_now())


def reopen(project: Project, id: str, queue: Queue) -> bool:
    """Take up a finished assignment again; False if it is not finished."""
    return _change(project, id, "done", state="open", lease_until=utc_in(queue.lease_seconds))


def latest_done(project: Project, person: str) -> str | None:
    """The assignment that the person finished last."""
    mine = (assignment.c.person == person) & (assignment.c.state == "done")
    with reading(project) as connection:
        query = sa.select(assignment.c.id).where(mine).order_by(assignment.c.finished.desc()).limit(1)
        return connection.execute(query).scalar()


def progress(project: Project, person: str, queue: Queue, latest: int = 20) -> Progress:
    """How far a person is; one assignment's seconds run from when it was given out until it was finished."""
    times = sa.select(assignment.c.created, assignment.c.finished).where(
        assignment.c.person == person, assignment.c.state == "done"
    )
    query, _ = _free(person, queue)
    with reading(project) as connection:
        done = connection.execute(times.order_by(assignment.c.finished.desc())).all()
        left = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        opened = sa.select(sa.func.count()).where(assignment.c.person == person, assignment.c.state == "open")
        left += connection.execute(opened).scalar_one()
    return Progress(len(done), left, tuple(_seconds(*row) for row in done[:latest]))


def done_by_person(project: Project) -> dict[str, int]:
    """Person id → how many assignments they finished."""
    query = sa.select(assignment.c.person, sa.func.count()).where(assignment.c.state == "done")
    with reading(project) as connection:
        return {id: count for id, count in connection.execute(query.group_by(assignment.c.person))}


def _free(person: str, queue: Queue) -> tuple[sa.Select[Any], sa.ColumnElement[int]]:
    """All pairs with a slot that this person can take, and the column that counts the slots taken."""
    expired = (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
    held = (assignment.c.pair == pair.c.id) & (assignment.c.state != "lapsed") & ~expired
    taken = sa.func.count(assignment.c.id)
    had = sa.select(assignment.c.pair).where(assignment.c.person == person)
    query = sa.select(pair, taken.label("taken")).outerjoin(assignment, held).where(pair.c.id.not_in(had))
    if queue.split is not None:
        query = query.where(pair.c.split == queue.split)
    if not queue.near_identical:
        query = query.where(~pair.c.near_identical)
    return query.group_by(pair.c.id).having(taken < queue.overlap), taken


def _resume(connection: sa.Connection, person: str, queue: Queue) -> Assignment | None:
    mine = (assignment.c.person == person) & (assignment.c.state == "open")
    query = sa.select(assignment).where(mine).order_by(assignment.c.lease_until.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    until = utc_in(queue.lease_seconds)
    connection.execute(sa.update(assignment).where(assignment.c.id == row["id"]).values(lease_until=until))
    return Assignment(**{**row, "lease_until": until})


def _change(project: Project, id: str, before: str, **values: Any) -> bool:
    where = (assignment.c.id == id) & (assignment.c.state == before)
    with writing(project, "assignment") as connection:
        return connection.execute(sa.update(assignment).where(where).values(**values)).rowcount == 1


def _seconds(start: str, end: str | None) -> float:
    assert end is not None, "a finished assignment has a time"
    return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()
