"""Who labelled: labellers told apart, and the pairs of a split in numbers, without anybody's name."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from densedpo.store import database as db
from densedpo.store import tables
from densedpo.store.project import Project


@dataclass(frozen=True, order=True)
class Voice:
    """One labeller: another version of a machine is another labeller."""

    kind: str
    name: str
    version: str


def labels_by_kind(project: Project, split: str, modes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Kind of annotator → `labels` that stand and `annotators`, over the pairs of a split and these modes."""
    label, pair, later = tables.label, tables.pair, tables.label.alias()
    counts = (sa.func.count(), sa.func.count(label.c.annotator.distinct()))
    query = (
        sa.select(label.c.annotator_kind, *counts)
        .join(pair, pair.c.id == label.c.pair)
        .where(pair.c.split == split, pair.c.mode.in_(modes), ~sa.exists().where(later.c.supersedes == label.c.id))
        .group_by(label.c.annotator_kind)
        .order_by(label.c.annotator_kind)
    )
    with db.clear_errors(project.place), project._engine.begin() as connection:
        rows = connection.execute(query).all()
    return {kind: {"labels": labels, "annotators": annotators} for kind, labels, annotators in rows}
