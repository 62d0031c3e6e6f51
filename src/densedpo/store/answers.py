"""What each person thinks, whatever became of their labels: corrected, settled by a reviewer, or set aside.

Labels are only ever added. A correction supersedes a label of the same person. A reviewer's decision supersedes the
labels that it settles. Setting somebody's labels aside supersedes each by a skip, which is no opinion, so consensus
needs no rule of its own; taking them back supersedes the skip by the label's own words. Labels of checks (gold, repeat,
practice, review) carry the check's name before their aspect, `gold:overall`, and so never join a consensus.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from densedpo.store.people import reading, writing
from densedpo.store.project import Project
from densedpo.store.schema import Label
from densedpo.store.tables import label as table
from densedpo.store.tables import values_of

WITHDRAWN = "[withdrawn]"  # comment of the skip that takes an answer back and puts none in its place
PAGE = "annotate-1"  # annotator_version of labels: what the page shows and asks
REVIEW = "review-1"  # of a reviewer's decision
ASIDE = "set-aside-1"  # of the skips that set somebody's labels aside

_IN_ASSIGNMENT = sa.select(table).where(
    table.c.pair == sa.bindparam("of_pair"), table.c.assignment == sa.bindparam("held")
)
_FIND = sa.select(table).where(table.c.id == sa.bindparam("wanted"))
_INSERT = sa.insert(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What somebody last said to one question while it was theirs. `kind` is work, gold, repeat, qualify or review.

    `milliseconds` is the time that their first answer took; `aside` tells whether it no longer counts.
    """

    annotator: str
    assignment: str
    kind: str
    pair: str
    segment: int | None
    aspect: str
    choice: str
    order_shown: str
    milliseconds: int
    comment: str
    created: str
    aside: bool

    @property
    def question(self) -> tuple[str, int | None, str]:
        """What it is about."""
        return self.pair, self.segment, self.aspect


def stored_aspect(kind: str, aspect: str) -> str:
    """The aspect of a label given in an assignment of this kind."""
    return aspect if kind == "work" else f"{kind}:{aspect}"


def asked_aspect(stored: str) -> tuple[str, str]:
    """The kind of assignment, and the aspect that was asked: `stored_aspect` the other way round."""
    kind, _, aspect = stored.rpartition(":")
    return kind or "work", aspect


def is_withdrawn(label: Label) -> bool:
    """Whether a label only takes back the one before."""
    return label.choice == "skip" and label.comment == WITHDRAWN


def labels_in(project: Project, pair: str, assignment: str) -> list[Label]:
    """All labels given in an assignment of this pair, superseded ones too."""
    with reading(project) as connection:
        rows = connection.execute(_IN_ASSIGNMENT, {"of_pair": pair, "held": assignment})
        return [Label(**row._mapping) for row in rows]


def add_label(project: Project, label: Label) -> Label | None:
    """Add one label; the one of that id if there is one already, which may say something else."""
    with writing(project, "label") as connection:
        known = connection.execute(_FIND, {"wanted": label.id}).first()
        if known is None:
            connection.execute(_INSERT, values_of(label))
    return Label(**known._mapping) if known else None


def opinions(labels: Iterable[Label]) -> list[Opinion]:
    """The opinions given on the page, oldest first; `labels` must hold superseded ones, too."""
    said: dict[tuple[str, str, int | None], list[Label]] = {}
    aside: dict[str, bool] = {}  # id of a label -> whether it is set aside
    for label in sorted(labels, key=lambda each: (each.created, each.id)):
        if label.assignment is None or label.annotator_kind != "human" or label.annotator_version == REVIEW:
            continue
        if label.annotator_version == ASIDE:
            aside[label.supersedes or ""] = True
        else:
            said.setdefault((label.assignment, label.aspect, label.segment), []).append(label)
    found = [_opinion(chain, aside) for chain in said.values() if not is_withdrawn(chain[-1])]
    return sorted(found, key=lambda opinion: opinion.created)


def _opinion(chain: list[Label], aside: dict[str, bool]) -> Opinion:
    """`chain`: what one person said to one question, oldest first."""
    last = chain[-1]
    kind, aspect = asked_aspect(last.aspect)
    return Opinion(
        annotator=last.annotator,
        assignment=last.assignment or "",
        kind=kind,
        pair=last.pair,
        segment=last.segment,
        aspect=aspect,
        choice=last.choice,
        order_shown=last.order_shown,
        milliseconds=chain[0].milliseconds or 0,
        comment=last.comment,
        created=last.created,
        aside=aside.get(last.id, False),
    )


def set_aside(project: Project, person: str) -> int:
    """Let none of a person's labels count any more; how many that concerns. They stay, each superseded by a skip."""
    standing = [
        label
        for label in project.labels(annotator=person)
        if label.choice != "skip" and label.annotator_kind == "human" and asked_aspect(label.aspect)[0] == "work"
    ]
    added = project.add_labels(_follow(label, "skip", ASIDE, "", None) for label in standing)
    project.record("labels-aside", person=person, labels=added)
    return added


def restore(project: Project, person: str) -> int:
    """Let the labels that were set aside count again; how many those are."""
    mine = {label.id: label for label in project.labels(annotator=person, superseded=True)}
    gone = {label.supersedes for label in mine.values()}
    skips = [label for label in mine.values() if label.annotator_version == ASIDE and label.id not in gone]
    again = []
    for skip in skips:
        before = mine[skip.supersedes or ""]
        again.append(_follow(skip, before.choice, before.annotator_version, before.comment, before.milliseconds))
    added = project.add_labels(again)
    project.record("labels-restored", person=person, labels=added)
    return added


def _follow(before: Label, choice: str, version: str, comment: str, milliseconds: int | None) -> Label:
    """A label on the same question by the same person that supersedes `before`."""
    return Label.make(
        pair=before.pair,
        seen=before.seen,
        segment=before.segment,
        segment_seconds=before.segment_seconds,
        choice=choice,
        aspect=before.aspect,
        annotator_kind=before.annotator_kind,
        annotator=before.annotator,
        annotator_version=version,
        assignment=before.assignment,
        order_shown=before.order_shown,
        comment=comment,
        milliseconds=milliseconds,
        supersedes=before.id,
    )
