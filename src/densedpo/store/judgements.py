"""What machine judges answered: the raw answers, and so the memory of what need not be asked (and paid) again.

The id of a judgement is a hash over everything that was asked: the model and its sampling settings, the instruction,
the exact bytes of the pictures, the order, the aspect, the number of the vote. Rows are only ever added.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from densedpo.chunks import chunks
from densedpo.store.people import reading, writing
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import utc_now
from densedpo.store.tables import judgement, label

# What became of a question. Only `answered` holds an opinion; all others are abstentions.
Outcome = Literal["answered", "refused", "filtered", "truncated", "nonsense", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One answer of one judge about one segment (None: the whole video) of one pair, shown in one order.

    `judge` is the model, `judge_version` a hash of all that decides its answers; `choice` is a, b, tie or skip (an
    abstention) whatever the order was; `artifacts` lists what was seen in `a` and in `b`; `raw` is the answer as the
    server gave it.
    """

    id: str
    pair: str
    segment: int | None
    segment_seconds: float
    aspect: str
    judge: str
    judge_version: str
    order_shown: str
    vote: int
    outcome: Outcome
    choice: str
    confidence: float | None
    artifacts: dict[str, list[str]]
    reason: str
    raw: str
    tokens_in: int
    tokens_out: int
    milliseconds: int
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True)
class Spent:
    """Answers of one judge in one project so far, and their tokens."""

    answers: int
    tokens_in: int
    tokens_out: int


def add_judgements(project: Project, rows: Sequence[Judgement]) -> None:
    """Add answers in one transaction. One that is there already stays as it is: the first answer counts."""
    with writing(project, "judgement") as connection:
        for part in chunks(rows, BATCH):
            known = _known(connection, judgement.c.id, [row.id for row in part])
            new = {row.id: asdict(row) for row in reversed(part) if row.id not in known}
            if new:
                connection.execute(sa.insert(judgement), list(new.values()))


def find_judgements(project: Project, ids: Sequence[str]) -> dict[str, Judgement]:
    """Those of the answers with these ids that are known, by id."""
    found: dict[str, Judgement] = {}
    with reading(project) as connection:
        for part in chunks(ids, BATCH):
            query = sa.select(judgement).where(judgement.c.id.in_(part))
            found |= {row["id"]: Judgement(**row) for row in connection.execute(query).mappings()}
    return found


def judgements(project: Project, judge: str | None = None, pair: str | None = None) -> Iterator[Judgement]:
    """All answers in id order, of one judge and pair or all; holds one batch at a time."""
    wanted = {judgement.c.judge: judge, judgement.c.pair: pair}
    where = [column == value for column, value in wanted.items() if value is not None]
    last = ""
    while True:
        query = sa.select(judgement).where(judgement.c.id > last, *where).order_by(judgement.c.id).limit(BATCH)
        with reading(project) as connection:
            rows = [Judgement(**row) for row in connection.execute(query).mappings()]
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def count_judgements(
    project: Project, judge_version: str, pairs: Iterable[str]
) -> dict[tuple[str, int | None, str], int]:
    """How many answers of this judge there are for each (pair, segment, aspect) of these pairs, where there are any."""
    counts: dict[tuple[str, int | None, str], int] = {}
    columns = (judgement.c.pair, judgement.c.segment, judgement.c.aspect)
    with reading(project) as connection:
        for part in chunks(list(pairs), BATCH):
            mine = (judgement.c.judge_version == judge_version) & judgement.c.pair.in_(part)
            query = sa.select(*columns, sa.func.count()).where(mine).group_by(*columns)
            counts |= {(row[0], row[1], row[2]): row[3] for row in connection.execute(query)}
    return counts


def spent(project: Project, judge: str) -> Spent:
    """What this judge has answered in this project so far."""
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (judgement.c.tokens_in, judgement.c.tokens_out)]
    query = sa.select(sa.func.count(), *sums).select_from(judgement).where(judgement.c.judge == judge)
    with reading(project) as connection:
        answers, tokens_in, tokens_out = connection.execute(query).one()
    return Spent(int(answers), int(tokens_in), int(tokens_out))


def has_answered(project: Project, judge: str, judge_version: str) -> bool:
    """Whether this judge, with these settings, has ever given an answer in this project."""
    mine = (judgement.c.judge == judge) & (judgement.c.judge_version == judge_version)
    query = sa.select(judgement.c.id).where(mine & (judgement.c.outcome != "rejected")).limit(1)
    with reading(project) as connection:
        return connection.execute(query).first() is not None


def known_labels(project: Project, ids: Sequence[str]) -> set[str]:
    """Which of these label ids are in the project."""
    with reading(project) as connection:
        return {id for part in chunks(ids, BATCH) for id in _known(connection, label.c.id, part)}


def _known(connection: sa.Connection, column: sa.Column[Any], ids: Sequence[str]) -> set[str]:
    return set(connection.execute(sa.select(column).where(column.in_(ids))).scalars())
