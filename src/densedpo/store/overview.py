"""All that a lead's dashboard counts, read at once."""

from dataclasses import dataclass

import sqlalchemy as sa

from densedpo.store.answers import ASIDE, REVIEW, Opinion, opinions
from densedpo.store.assignments import Assignment, Queue
from densedpo.store.people import Person, people, reading
from densedpo.store.project import Project
from densedpo.store.schema import Label
from densedpo.store.tables import assignment, gold, pair

Question = tuple[str, int | None, str]  # pair, segment (None: the whole video), aspect


@dataclass(frozen=True, slots=True)
class Overview:
    """People, what they were given, what they think, and what is known: by reviewers' decisions and by gold pairs.

    `pairs` counts those that the queue holds; `aside` names the people whose labels are set aside.
    """

    people: list[Person]
    assignments: list[Assignment]
    opinions: list[Opinion]
    decided: dict[Question, str]
    gold: dict[Question, str]
    pairs: int
    aside: frozenset[str]


def overview(project: Project, queue: Queue) -> Overview:
    """Read all of it."""
    labels = list(project.labels(superseded=True))
    gone = {label.supersedes for label in labels}
    standing = [label for label in labels if label.id not in gone]
    with reading(project) as connection:
        given = [Assignment(**row) for row in connection.execute(sa.select(assignment)).mappings()]
        known = connection.execute(sa.select(gold.c.pair, gold.c.segment, gold.c.aspect, gold.c.choice)).all()
        pairs = connection.execute(sa.select(sa.func.count()).select_from(pair).where(*_held(queue))).scalar_one()
    return Overview(
        people=people(project),
        assignments=given,
        opinions=opinions(labels),
        decided={_question(label): label.choice for label in standing if label.annotator_version == REVIEW},
        gold={(row.pair, row.segment, row.aspect): row.choice for row in known},
        pairs=pairs,
        aside=frozenset(label.annotator for label in standing if label.annotator_version == ASIDE),
    )


def _held(queue: Queue) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = [pair.c.id.not_in(sa.select(gold.c.pair))]
    if queue.split is not None:
        where.append(pair.c.split == queue.split)
    if not queue.near_identical:
        where.append(~pair.c.near_identical)
    return where


def _question(label: Label) -> Question:
    return label.pair, label.segment, label.aspect
