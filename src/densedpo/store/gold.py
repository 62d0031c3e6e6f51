"""Pairs whose right answers are known: they tell how well somebody labels. Rows are only ever added."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from densedpo.errors import UserError
from densedpo.store.people import reading, writing
from densedpo.store.project import Project
from densedpo.store.schema import Pair, content_id, utc_now
from densedpo.store.segments import segment_grid
from densedpo.store.tables import gold, pair

ANSWERS = ("a", "b", "tie")
_PAIRS = sa.select(gold.c.pair).distinct().order_by(gold.c.pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """The right answer to one question about a pair; `origin` says where it is known from (file or review)."""

    pair: str
    segment: int | None
    aspect: str
    choice: str
    origin: str
    created: str = field(default_factory=utc_now)

    @property
    def id(self) -> str:
        """A hash of the question."""
        return content_id("gold", self.pair, self.segment, self.aspect)


def add_gold(project: Project, rows: Iterable[Gold]) -> int:
    """Add answers to questions that had none; how many are new. Raises UserError for another answer than is known."""
    given = {row.id: row for row in rows}
    with writing(project, "gold") as connection:
        known = {row["id"]: row["choice"] for row in connection.execute(sa.select(gold)).mappings()}
        for id, row in given.items():
            if known.get(id, row.choice) != row.choice:
                place = "the whole video" if row.segment is None else f"segment {row.segment}"
                raise UserError(
                    f"the right answer for {place} of pair {row.pair} ({row.aspect}) is {known[id]} already, "
                    f"so it cannot be {row.choice}; leave that line out"
                )
        new = [{"id": id, **asdict(row)} for id, row in given.items() if id not in known]
        if new:
            connection.execute(sa.insert(gold), new)
    return len(new)


def gold_of(project: Project, pair_id: str | None = None) -> list[Gold]:
    """The right answers for one pair, or all."""
    query = sa.select(gold).order_by(gold.c.pair, gold.c.aspect, gold.c.segment)
    if pair_id is not None:
        query = query.where(gold.c.pair == pair_id)
    with reading(project) as connection:
        rows = connection.execute(query).mappings().all()
    return [Gold(**{key: value for key, value in row.items() if key != "id"}) for row in rows]


def gold_pairs(project: Project) -> list[str]:
    """The ids of the pairs with right answers, in order."""
    with reading(project) as connection:
        return list(connection.execute(_PAIRS).scalars())


def read_gold(project: Project, file: Path) -> list[Gold]:
    """The lines of a JSON Lines file: `{"pair": ID, "segment": 0 or null, "choice": "a" | "b" | "tie"}`.

    `aspect` may be added ("overall" if not). Raises UserError for a line that says nothing about a pair of the project.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the right answers in {file} cannot be read: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return [_parsed(project, line, f"{file}, line {number}") for number, line in numbered]


def _parsed(project: Project, line: str, place: str) -> Gold:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error.msg}); write one object a line") from None
    unknown = set(row) - {"pair", "segment", "aspect", "choice"} if isinstance(row, dict) else {"no object"}
    if unknown or not {"pair", "segment", "choice"} <= set(row):
        raise UserError(f'{place}: write {{"pair": ID, "segment": 0, "choice": "a"}}, with "aspect" if you like')
    _check(project, row, place)
    return Gold(
        pair=row["pair"],
        segment=row["segment"],
        aspect=row.get("aspect", "overall"),
        choice=row["choice"],
        origin="file",
    )


def _check(project: Project, row: dict[str, Any], place: str) -> None:
    if row["choice"] not in ANSWERS:
        raise UserError(f"{place}: the choice is {row['choice']!r}; write one of {', '.join(ANSWERS)}")
    with reading(project) as connection:
        found = connection.execute(sa.select(pair).where(pair.c.id == str(row["pair"]))).mappings().first()
    if found is None:
        raise UserError(f"{place}: the project has no pair {row['pair']!r}; take an id of a pair that it has")
    known = Pair(**found)
    count = len(segment_grid(known.frames, known.fps, project.settings.segment_seconds))
    segment = row["segment"]
    if segment is not None and not (type(segment) is int and 0 <= segment < count):
        raise UserError(f"{place}: the segment is {segment!r}; write 0 to {count - 1}, or null for the whole video")
