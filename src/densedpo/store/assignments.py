"""Which pair is whose: every pair has `overlap` slots, a slot is held by one person at a time, for as long as a lease.

A lease that ran out lets somebody else take the slot; until that happens its holder can go on. Pairs that somebody has
begun come first, so that they are complete soon; the others in id order, which is random because ids are hashes.

Besides that work there are checks, which take no slot: a pair whose answer is known (gold), one shown a second time
(repeat), one to practise on (qualify); and a reviewer's turn at a pair that its annotators see differently (review).
"""

import datetime
import hashlib
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import sqlalchemy as sa

from densedpo.store.people import reading, utc_in, writing
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, content_id, utc_now
from densedpo.store.tables import assignment, clip, pair

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


class Past(NamedTuple):
    """What an assignment was about, whatever became of it."""

    pair: str
    kind: Kind
    state: str
    order_shown: Order


@dataclass(frozen=True, slots=True)
class Progress:
    """A person's finished pairs, those still to be had (`open` ones among them), the seconds that the latest took.

    `previous` is the assignment that they finished last.
    """

    done: int
    left: int
    seconds: tuple[float, ...]
    open: int = 0
    previous: str | None = None


# Statements that every answer needs are made once: making one takes longer than the database takes to do it.
_ID, _PERSON = sa.bindparam("wanted", type_=sa.Text), sa.bindparam("whose", type_=sa.Text)
_FIND = sa.select(assignment).where(assignment.c.id == _ID)
_FIND_PAIR = sa.select(pair).where(pair.c.id == _ID)
_NO_REVIEW = assignment.c.kind != "review"
_MINE = {True: (assignment.c.person == _PERSON) & ~_NO_REVIEW, False: (assignment.c.person == _PERSON) & _NO_REVIEW}
_HISTORY = sa.select(assignment).where(_MINE[False], assignment.c.state != "lapsed").order_by(assignment.c.created)
_PAST = (
    sa.select(assignment.c.pair, assignment.c.kind, assignment.c.state, assignment.c.order_shown)
    .where(assignment.c.person == _PERSON)
    .order_by(assignment.c.created)
)
_OPEN = {
    review: sa.select(assignment).where(mine, assignment.c.state == "open").order_by(assignment.c.lease_until.desc())
    for review, mine in _MINE.items()
}
_TIMES = {
    review: sa.select(assignment.c.state, assignment.c.created, assignment.c.finished, assignment.c.id)
    .where(mine, assignment.c.state.in_(("open", "done")))
    .order_by(assignment.c.finished.desc())
    for review, mine in _MINE.items()
}
_LEASE = sa.update(assignment).where(assignment.c.id == _ID).values(lease_until=sa.bindparam("until"))
_RENEW = _LEASE.where(assignment.c.state == "open")
_FINISH = (
    sa.update(assignment)
    .where(assignment.c.id == _ID, assignment.c.state == "open")
    .values(state="done", finished=sa.bindparam("now"))
)
_OF_PAIR = sa.select(assignment).where(
    assignment.c.pair == sa.bindparam("of_pair"), assignment.c.kind.in_(("work", "review"))
)
_INSERT = sa.insert(assignment)


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
        row = connection.execute(_FIND, {"wanted": id}).first()
    return Assignment(**row._mapping) if row else None


def find_pair(project: Project, id: str) -> Pair | None:
    """The pair with this id."""
    with reading(project) as connection:
        row = connection.execute(_FIND_PAIR, {"wanted": id}).first()
    return Pair(**row._mapping) if row else None


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
    with reading(project) as connection:
        return [Assignment(**row._mapping) for row in connection.execute(_HISTORY, {"whose": person})]


def past(project: Project, person: str) -> list[Past]:
    """All that a person was ever given, oldest first; with reviews, and with what they lost."""
    with reading(project) as connection:
        return [Past(*row) for row in connection.execute(_PAST, {"whose": person})]


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
        known = connection.execute(_FIND, {"wanted": id}).first()
        if known is None:
            connection.execute(_INSERT, asdict(new))
        elif (kind, known.state) == ("review", "lapsed"):
            connection.execute(sa.update(assignment).where(assignment.c.id == id).values(asdict(new)))
        else:
            return None
        return new


def renew(project: Project, id: str, queue: Queue) -> bool:
    """Start the lease of an open assignment anew; False if it is not open (any more)."""
    with writing(project, "assignment") as connection:
        return connection.execute(_RENEW, {"wanted": id, "until": utc_in(queue.lease_seconds)}).rowcount == 1


def finish(project: Project, id: str) -> bool:
    """Close an open assignment; False if it is not open (any more)."""
    with writing(project, "assignment") as connection:
        return connection.execute(_FINISH, {"wanted": id, "now": utc_now()}).rowcount == 1


def reopen(project: Project, id: str, queue: Queue) -> bool:
    """Take up a finished assignment again; False if it is not finished, or a reviewer has the pair, or had it."""
    reviews = assignment.alias()
    reviewed = sa.exists().where(
        (reviews.c.pair == assignment.c.pair) & (reviews.c.kind == "review") & (reviews.c.state != "lapsed")
    )
    free = (assignment.c.kind == "review") | ~reviewed
    query = sa.update(assignment).where(assignment.c.id == id, assignment.c.state == "done", free)
    with writing(project, "assignment") as connection:
        return connection.execute(query.values(state="open", lease_until=utc_in(queue.lease_seconds))).rowcount == 1


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


def progress(project: Project, person: str, free: int, review: bool = False, latest: int = 20) -> Progress:
    """How far a person is who can still take `free` pairs; or, with `review`, how far they are as a reviewer.

    One assignment's seconds run from when it was given out until it was finished.
    """
    with reading(project) as connection:
        rows = connection.execute(_TIMES[review], {"whose": person}).all()
    done = [row for row in rows if row.state == "done"]
    begun = len(rows) - len(done)
    seconds = tuple(_seconds(row.created, row.finished) for row in done[:latest])
    return Progress(len(done), begun + free, seconds, begun, done[0].id if done else None)


def done_by_person(project: Project) -> dict[str, int]:
    """Person id → how many assignments they finished, reviews left out."""
    query = sa.select(assignment.c.person, sa.func.count()).where(assignment.c.state == "done", _NO_REVIEW)
    with reading(project) as connection:
        return {id: count for id, count in connection.execute(query.group_by(assignment.c.person))}


def _resume(connection: sa.Connection, person: str, queue: Queue, review: bool) -> Assignment | None:
    row = connection.execute(_OPEN[review], {"whose": person}).first()
    if row is None:
        return None
    until = utc_in(queue.lease_seconds)
    connection.execute(_LEASE, {"wanted": row.id, "until": until})
    return Assignment(**{**row._mapping, "lease_until": until})


def _free_slot(connection: sa.Connection, pair_id: str, person: str, queue: Queue) -> int | None:
    """A slot of the pair that nobody holds, overdue ones taken from their holders.

    None if the person had the pair, or a reviewer settled it: one more opinion would not be weighed against theirs.
    """
    of_all, now = connection.execute(_OF_PAIR, {"of_pair": pair_id}).all(), utc_now()
    if any((row.kind, row.state) == ("review", "done") for row in of_all):
        return None
    rows = [row for row in of_all if row.kind == "work"]
    overdue = {row.slot for row in rows if row.state == "open" and row.lease_until < now}
    held = {row.slot for row in rows if row.state != "lapsed"} - overdue
    free = [slot for slot in range(queue.overlap) if slot not in held]
    if not free or any(row.person == person for row in rows):
        return None
    if overdue:
        _lapse(connection, (assignment.c.pair == pair_id) & (assignment.c.kind == "work"))
    return free[0]


def _free_review(connection: sa.Connection, pair_id: str) -> bool:
    """Whether no reviewer holds or has settled the pair; one who let it lie loses it."""
    of_pair = (assignment.c.pair == pair_id) & (assignment.c.kind == "review")
    _lapse(connection, of_pair)
    query = sa.select(sa.func.count()).where(of_pair & (assignment.c.state != "lapsed"))
    return connection.execute(query).scalar_one() == 0


def _lapse(connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
    overdue = where & (assignment.c.state == "open") & (assignment.c.lease_until < utc_now())
    connection.execute(sa.update(assignment).where(overdue).values(state="lapsed"))


def _seconds(start: str, end: str | None) -> float:
    assert end is not None, "a finished assignment has a time"
    return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()
