"""Which pair is whose: every pair has `overlap` slots, a slot is held by one person at a time, for as long as a lease.

A lease that ran out lets somebody else take the slot; until that happens its holder can go on. Pairs that somebody has
begun come first, so that they are complete soon; the others in id order, which is random because ids are hashes.

Besides that work there are checks, which take no slot: a pair whose answer is known (gold), one shown a second time
(repeat), one to practise on (qualify); and a reviewer's turn at a pair that its annotators see differently (review).
"""

import datetime
import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from densedpo.store.people import reading, utc_in, writing
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, content_id, utc_now
from densedpo.store.tables import assignment, clip, gold, pair

Kind = Literal["work", "gold", "repeat", "qualify", "review"]
Order = Literal["ab", "ba"]


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
    order_shown: Order
    seen: str
    state: Literal["open", "done", "lapsed"]
    lease_until: str
    created: str
    finished: str | None
    kind: Kind = "work"


@dataclass(frozen=True, slots=True)
class Progress:
    """A person's finished pairs, those still to be had (`open` ones among them), the seconds that the latest took."""

    done: int
    left: int
    seconds: tuple[float, ...]
    open: int = 0


def assignment_id(person: str, pair_id: str, kind: Kind) -> str:
    """The id that this assignment has, or would have; it tells nothing to somebody who knows no id of a pair."""
    return content_id("assignment", person, pair_id, kind)


def order_shown(seed: int, pair_id: str, slot: int) -> Order:
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


def resume(project: Project, person: str, queue: Queue, review: bool = False) -> Assignment | None:
    """The person's open assignment, the one they touched last, with its lease renewed; a review, or anything else."""
    with writing(project, "assignment") as connection:
        return _resume(connection, person, queue, review)


def history(project: Project, person: str) -> list[Assignment]:
    """What a person was given and did not lose, oldest first; no reviews."""
    mine = (assignment.c.person == person) & (assignment.c.kind != "review") & (assignment.c.state != "lapsed")
    with reading(project) as connection:
        rows = connection.execute(sa.select(assignment).where(mine).order_by(assignment.c.created)).mappings()
        return [Assignment(**row) for row in rows]


def next_pairs(project: Project, person: str, queue: Queue, limit: int = 1) -> list[Pair]:
    """Pairs with a free slot that this person never had, in the order in which they should be labelled."""
    query, taken = _free(person, queue)
    with reading(project) as connection:
        rows = connection.execute(query.order_by(taken.desc(), pair.c.id).limit(limit)).mappings()
        return [Pair(**{key: value for key, value in row.items() if key != "taken"}) for row in rows]


def take(
    project: Project,
    pair_id: str,
    person: str,
    seen: str,
    queue: Queue,
    kind: Kind = "work",
    order: Order | None = None,
) -> Assignment | None:
    """Give the pair to the person; None if no slot is free, or they had it. An open assignment comes first.

    Without `order` the order shown is that of the slot.
    """
    with writing(project, "assignment") as connection:
        mine = _resume(connection, person, queue, kind == "review")
        if mine:
            return mine
        slot = _free_slot(connection, pair_id, person, queue) if kind == "work" else 0
        if slot is None or (kind == "review" and not _free_review(connection, pair_id)):
            return None
        id, until = assignment_id(person, pair_id, kind), utc_in(queue.lease_seconds)
        new = Assignment(
            id=id,
            pair=pair_id,
            person=person,
            slot=slot,
            order_shown=order or order_shown(queue.seed, pair_id, slot),
            seen=seen,
            state="open",
            lease_until=until,
            created=utc_now(),
            finished=None,
            kind=kind,
        )
        known = connection.execute(sa.select(assignment.c.state).where(assignment.c.id == id)).scalar()
        if known is None:
            connection.execute(sa.insert(assignment).values(asdict(new)))
        elif (kind, known) == ("review", "lapsed"):
            connection.execute(sa.update(assignment).where(assignment.c.id == id).values(asdict(new)))
        else:
            return None
        return new


def renew(project: Project, id: str, queue: Queue) -> bool:
    """Start the lease of an open assignment anew; False if it is not open (any more)."""
    return _change(project, id, "open", lease_until=utc_in(queue.lease_seconds))


def finish(project: Project, id: str) -> bool:
    """Close an open assignment; False if it is not open (any more)."""
    return _change(project, id, "open", state="done", finished=utc_now())


def reopen(project: Project, id: str, queue: Queue) -> bool:
    """Take up a finished assignment again; False if it is not finished, or a reviewer has the pair, or had it."""
    reviews = assignment.alias()
    reviewed = sa.exists().where(
        (reviews.c.pair == assignment.c.pair) & (reviews.c.kind == "review") & (reviews.c.state != "lapsed")
    )
    free = (assignment.c.kind == "review") | ~reviewed
    return _change(project, id, "done", free, state="open", lease_until=utc_in(queue.lease_seconds))


def latest_done(project: Project, person: str, review: bool = False) -> str | None:
    """The assignment that the person finished last."""
    mine = (assignment.c.person == person) & (assignment.c.state == "done") & _is_review(review)
    with reading(project) as connection:
        query = sa.select(assignment.c.id).where(mine).order_by(assignment.c.finished.desc()).limit(1)
        return connection.execute(query).scalar()


def free_slots(project: Project, person: str) -> int:
    """Let others have the pairs that a person labelled, and end what they have open; how many that frees."""
    mine = (assignment.c.person == person) & (assignment.c.kind == "work") & (assignment.c.state != "lapsed")
    with writing(project, "assignment") as connection:
        return connection.execute(sa.update(assignment).where(mine).values(state="lapsed")).rowcount


def take_back_slots(project: Project, person: str) -> int:
    """Give a person the pairs back that they had handed in, where nobody else has taken the slot; how many."""
    others = assignment.alias()
    taken = sa.exists().where(
        (others.c.pair == assignment.c.pair)
        & (others.c.slot == assignment.c.slot)
        & (others.c.kind == "work")
        & (others.c.state != "lapsed")
    )
    mine = (assignment.c.person == person) & (assignment.c.kind == "work") & (assignment.c.state == "lapsed")
    with writing(project, "assignment") as connection:
        query = sa.update(assignment).where(mine, assignment.c.finished.is_not(None), ~taken).values(state="done")
        return connection.execute(query).rowcount


def progress(project: Project, person: str, queue: Queue, latest: int = 20, review: bool = False) -> Progress:
    """How far a person is; one assignment's seconds run from when it was given out until it was finished.

    With `review`, how far they are as a reviewer; `left` then counts only what they have open.
    """
    mine = (assignment.c.person == person) & _is_review(review)
    times = sa.select(assignment.c.created, assignment.c.finished).where(mine, assignment.c.state == "done")
    opened = sa.select(sa.func.count()).where(mine, assignment.c.state == "open")
    query, _ = _free(person, queue)
    with reading(project) as connection:
        done = connection.execute(times.order_by(assignment.c.finished.desc())).all()
        begun = connection.execute(opened).scalar_one()
        free = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    left = begun if review else begun + free
    return Progress(len(done), left, tuple(_seconds(*row) for row in done[:latest]), begun)


def done_by_person(project: Project) -> dict[str, int]:
    """Person id → how many assignments they finished, reviews left out."""
    query = sa.select(assignment.c.person, sa.func.count()).where(assignment.c.state == "done", _is_review(False))
    with reading(project) as connection:
        return {id: count for id, count in connection.execute(query.group_by(assignment.c.person))}


def _free(person: str, queue: Queue) -> tuple[sa.Select[Any], sa.ColumnElement[int]]:
    """All pairs with a slot that this person can take, and the column that counts the slots taken."""
    expired = (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
    held = (
        (assignment.c.pair == pair.c.id) & (assignment.c.state != "lapsed") & (assignment.c.kind == "work") & ~expired
    )
    taken = sa.func.count(assignment.c.id)
    had = sa.select(assignment.c.pair).where(assignment.c.person == person)
    query = sa.select(pair, taken.label("taken")).outerjoin(assignment, held).where(pair.c.id.not_in(had))
    query = query.where(pair.c.id.not_in(sa.select(gold.c.pair)))  # their answers are known
    if queue.split is not None:
        query = query.where(pair.c.split == queue.split)
    if not queue.near_identical:
        query = query.where(~pair.c.near_identical)
    return query.group_by(pair.c.id).having(taken < queue.overlap), taken


def _resume(connection: sa.Connection, person: str, queue: Queue, review: bool) -> Assignment | None:
    mine = (assignment.c.person == person) & (assignment.c.state == "open") & _is_review(review)
    query = sa.select(assignment).where(mine).order_by(assignment.c.lease_until.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    until = utc_in(queue.lease_seconds)
    connection.execute(sa.update(assignment).where(assignment.c.id == row["id"]).values(lease_until=until))
    return Assignment(**{**row, "lease_until": until})


def _free_slot(connection: sa.Connection, pair_id: str, person: str, queue: Queue) -> int | None:
    """A slot of the pair that nobody holds, overdue ones taken from their holders; None if the person had the pair."""
    of_pair = (assignment.c.pair == pair_id) & (assignment.c.kind == "work")
    _lapse(connection, of_pair)
    rows = connection.execute(sa.select(assignment).where(of_pair)).mappings().all()
    held = {row["slot"] for row in rows if row["state"] != "lapsed"}
    free = [slot for slot in range(queue.overlap) if slot not in held]
    return None if not free or any(row["person"] == person for row in rows) else free[0]


def _free_review(connection: sa.Connection, pair_id: str) -> bool:
    """Whether no reviewer holds or has settled the pair; one who let it lie loses it."""
    of_pair = (assignment.c.pair == pair_id) & (assignment.c.kind == "review")
    _lapse(connection, of_pair)
    query = sa.select(sa.func.count()).where(of_pair & (assignment.c.state != "lapsed"))
    return connection.execute(query).scalar_one() == 0


def _lapse(connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
    overdue = where & (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
    connection.execute(sa.update(assignment).where(overdue).values(state="lapsed"))


def _is_review(review: bool) -> sa.ColumnElement[bool]:
    return assignment.c.kind == "review" if review else assignment.c.kind != "review"


def _change(project: Project, id: str, before: str, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
    where = (assignment.c.id == id) & (assignment.c.state == before)
    with writing(project, "assignment") as connection:
        return connection.execute(sa.update(assignment).where(where, *conditions).values(**values)).rowcount == 1


def _seconds(start: str, end: str | None) -> float:
    assert end is not None, "a finished assignment has a time"
    return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()
