"""Where people disagree, and a reviewer's word that settles it (DenseDPO, arXiv 2506.03517: two labellers, a reviewer).

A decision supersedes every label on its question that still stands, so it alone is left for consensus; what the others
said stays in the rows that it supersedes.
"""

from collections.abc import Iterator

import sqlalchemy as sa

from densedpo.store.answers import REVIEW, asked_aspect, is_withdrawn
from densedpo.store.assignments import Assignment, Queue
from densedpo.store.gold import ANSWERS, Gold
from densedpo.store.people import reading
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, utc_now
from densedpo.store.tables import assignment, label, pair

Question = tuple[int | None, str]  # segment (None: the whole video) and aspect


def disputed_pairs(project: Project, queue: Queue, reviewer: str, limit: int = 1) -> list[Pair]:
    """Pairs to settle, the greatest disagreement first.

    They are labelled by as many people as they should be, in nobody's hands, and never labelled by this reviewer. A
    question on which two chose opposite sides counts 2, one on which one said tie and another a side counts 1.
    """
    query, distance = _disputed(queue, reviewer)
    with reading(project) as connection:
        rows = connection.execute(query.order_by(distance.desc(), pair.c.id).limit(limit)).mappings()
        return [Pair(**{key: value for key, value in row.items() if key != "distance_now"}) for row in rows]


def count_disputed(project: Project, queue: Queue, reviewer: str = "") -> int:
    """How many pairs wait for a reviewer."""
    query, _ = _disputed(queue, reviewer)
    with reading(project) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def disputed_questions(project: Project, pair_id: str) -> list[Question]:
    """The questions of a pair that its standing labels answer differently."""
    apart = _apart(label.c.pair == pair_id)
    query = sa.select(apart.c.segment, apart.c.aspect)
    with reading(project) as connection:
        return [(row.segment, row.aspect) for row in connection.execute(query)]


def settle(project: Project, review: Assignment) -> int:
    """Let the reviewer's answers decide; how many labels that added. Doing it again adds what has changed since."""
    labels = list(project.labels(review.pair))
    answers = {
        (each.segment, asked_aspect(each.aspect)[1]): each
        for each in labels
        if each.assignment == review.id and asked_aspect(each.aspect)[0] == "review" and not is_withdrawn(each)
    }
    return project.add_labels(_decisions(review, labels, answers))


def settled_gold(project: Project) -> list[Gold]:
    """What reviewers have decided, as right answers."""
    decided = [each for each in project.labels() if each.annotator_version == REVIEW and each.choice in ANSWERS]
    return [
        Gold(pair=each.pair, segment=each.segment, aspect=each.aspect, choice=each.choice, origin="review")
        for each in decided
    ]


def _decisions(review: Assignment, labels: list[Label], answers: dict[Question, Label]) -> Iterator[Label]:
    """A label for each standing one on a question with an answer, unless it says that already."""
    for before in labels:
        answer = answers.get((before.segment, before.aspect))
        no_opinion = before.choice == "skip" and before.annotator_version != REVIEW
        if answer is None or no_opinion or (before.annotator_version, before.choice) == (REVIEW, answer.choice):
            continue
        yield Label.make(
            pair=before.pair,
            seen=review.seen,
            segment=before.segment,
            segment_seconds=before.segment_seconds,
            choice=answer.choice,
            aspect=before.aspect,
            annotator_kind="human",
            annotator=review.person,
            annotator_version=REVIEW,
            assignment=review.id,
            order_shown=review.order_shown,
            milliseconds=answer.milliseconds,
            comment=answer.comment,
            supersedes=before.id,
        )


def _apart(*among: sa.ColumnElement[bool]) -> sa.Subquery:
    """The questions on which people's standing labels differ: pair, segment, aspect, and how far they are apart."""
    later = label.alias()
    value = sa.case({"a": 1, "tie": 0, "b": -1}, value=label.c.choice)
    apart = sa.func.max(value) - sa.func.min(value)
    counts = (label.c.annotator_kind == "human") & (label.c.choice != "skip") & ~label.c.aspect.contains(":")
    question = (label.c.pair, label.c.segment, label.c.aspect)
    query = sa.select(*question, apart.label("apart")).where(
        counts, ~sa.exists().where(later.c.supersedes == label.c.id), *among
    )
    return query.group_by(*question).having(apart > 0).order_by(*question).subquery()


def _disputed(queue: Queue, reviewer: str) -> tuple[sa.Select[tuple[object, ...]], sa.ColumnElement[int]]:
    """The pairs that wait for this reviewer, and the column by which they are put in order."""
    apart = _apart()
    of_pair = (
        sa.select(apart.c.pair, sa.func.sum(apart.c.apart).label("distance_now")).group_by(apart.c.pair).subquery()
    )
    work = assignment.c.kind == "work"
    done = sa.func.sum(sa.case((assignment.c.state == "done", 1), else_=0))
    begun = sa.func.sum(sa.case((assignment.c.state == "open", 1), else_=0))
    complete = sa.select(assignment.c.pair).where(work).group_by(assignment.c.pair)
    complete = complete.having((done >= queue.overlap) & (begun == 0))
    held = (assignment.c.state == "done") | ((assignment.c.state == "open") & (assignment.c.lease_until > utc_now()))
    reviewed = (assignment.c.kind == "review") & held
    own = (assignment.c.person == reviewer) & (assignment.c.kind != "review")
    query = sa.select(pair, of_pair.c.distance_now).join(of_pair, of_pair.c.pair == pair.c.id)
    query = query.where(pair.c.id.in_(complete), pair.c.id.not_in(sa.select(assignment.c.pair).where(reviewed | own)))
    return query, of_pair.c.distance_now
