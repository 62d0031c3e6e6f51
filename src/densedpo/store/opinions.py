"""What annotators jointly say of many pairs at once, as arrays: `consensus` and `global_consensus`, a batch at a time.

Where one annotator looked at each segment, which is the rule in large projects, the database's rows become arrays
without a Python object a label. Everything else goes through `consensus`, label by label.

Shapes: P pairs, S segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from densedpo.chunks import chunks
from densedpo.store import database as db
from densedpo.store import tables
from densedpo.store.consensus import SIGNS, ConsensusPolicy, consensus, global_consensus
from densedpo.store.project import BATCH, Project
from densedpo.store.segments import Segment

ROWS = 5000  # pairs at a time


@dataclass(frozen=True)
class Opinions:
    """As `SegmentLabels` for P pairs, and the same of labels on whole videos."""

    sign_PS: NDArray[np.int8]
    weight_PS: NDArray[np.float32]
    labelled_PS: NDArray[np.bool_]
    video_sign_P: NDArray[np.int8]
    video_weight_P: NDArray[np.float32]
    video_labelled_P: NDArray[np.bool_]


def pair_columns(project: Project, names: Sequence[str], split: str, mode: str) -> Iterator[list[tuple[Any, ...]]]:
    """Columns of the pairs of a split and mode in id order, the id first, `ROWS` rows at a time."""
    table = tables.pair
    columns = [table.c.id, *(table.c[name] for name in names)]
    last = ""
    while True:
        query = sa.select(*columns).where(table.c.id > last, table.c.split == split, table.c.mode == mode)
        with db.clear_errors(project.place), project._engine.begin() as connection:
            rows = _fetch(connection, query.order_by(table.c.id).limit(ROWS))
        if rows:
            yield rows
        if len(rows) < ROWS:
            return
        last = rows[-1][0]


def opinions(
    project: Project, pairs: Sequence[str], segments: Sequence[Segment], seconds: float, policy: ConsensusPolicy
) -> Opinions:
    """The opinions on these pairs, given in id order.

    Args:
        seconds: of a segment, on the grid that `segments` is.

    Raises:
        UserError: a label lies on another grid than `segments`.
    """
    found = _nothing(len(pairs), len(segments))
    votes = _votes(project, pairs, policy)
    careful = _fill(found, votes, pairs, seconds, policy) if votes else np.zeros(0, np.int64)
    for part in chunks(careful.tolist(), BATCH):
        labels = project.labels_of([pairs[row] for row in part])
        for row in part:
            here = labels[pairs[row]]
            joint = consensus([label for label in here if label.segment is not None], segments, policy)
            found.sign_PS[row], found.weight_PS[row], found.labelled_PS[row] = joint.sign, joint.weight, joint.labelled
            whole = global_consensus([label for label in here if label.segment is None], policy)
            found.video_sign_P[row], found.video_weight_P[row] = whole or (0, 0.0)
            found.video_labelled_P[row] = whole is not None
    return found


def _fetch(connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
    """The driver's own tuples: several times as fast as SQLAlchemy's rows, and numbers and text need no conversion."""
    cursor: Any = connection.execute(query).cursor
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _nothing(pairs: int, segments: int) -> Opinions:
    return Opinions(
        np.zeros((pairs, segments), np.int8),
        np.zeros((pairs, segments), np.float32),
        np.zeros((pairs, segments), np.bool_),
        np.zeros(pairs, np.int8),
        np.zeros(pairs, np.float32),
        np.zeros(pairs, np.bool_),
    )


def _votes(project: Project, pairs: Sequence[str], policy: ConsensusPolicy) -> list[tuple[str, int, int, float]]:
    """(pair, segment or -1, sign, segment seconds) of every label that votes on these pairs or on others between."""
    label, later = tables.label, tables.label.alias()
    sign = sa.case(*((label.c.choice == choice, sign) for choice, sign in SIGNS.items()))
    query = sa.select(label.c.pair, sa.func.coalesce(label.c.segment, -1), sign, label.c.segment_seconds).where(
        label.c.pair >= pairs[0],
        label.c.pair <= pairs[-1],
        label.c.aspect == policy.aspect,
        label.c.choice.in_(SIGNS),
        ~sa.exists().where(later.c.supersedes == label.c.id),
    )
    if policy.annotators is not None:
        query = query.where(label.c.annotator.in_(policy.annotators))
    with db.clear_errors(project.place), project._engine.begin() as connection:
        return _fetch(connection, query)


def _fill(
    found: Opinions,
    votes: list[tuple[str, int, int, float]],
    pairs: Sequence[str],
    seconds: float,
    policy: ConsensusPolicy,
) -> NDArray[np.int64]:
    """Enter the pairs of which nothing has more than one vote; returns the rows of the others."""
    place = {pair: row for row, pair in enumerate(pairs)}
    # Column by column: unpacking all rows at once makes an object a row that Python's garbage collector walks over.
    row_V = np.array([place.get(vote[0], -1) for vote in votes])
    here_V = row_V >= 0
    row_V = row_V[here_V]
    segment_V, sign_V, seconds_V = (
        np.array([vote[column] for vote in votes], kind)[here_V] for column, kind in ((1, "i"), (2, "i"), (3, "f"))
    )
    units = found.sign_PS.shape[1] + 1
    odd_V = (segment_V >= units - 1) | ~np.isclose(seconds_V, seconds)
    count_PU = np.bincount(row_V * units + np.minimum(segment_V, units - 2) + 1, minlength=len(pairs) * units)
    careful_P = np.asarray((count_PU.reshape(-1, units) > 1).any(axis=1), np.bool_)
    careful_P[row_V[odd_V]] = True
    if policy.method != "majority" or policy.confidence_weights:
        careful_P[row_V] = True
    for whole in (False, True):
        chosen_V = ~careful_P[row_V] & ((segment_V < 0) == whole)
        rows, signs = row_V[chosen_V], sign_V[chosen_V]
        if whole:
            found.video_sign_P[rows], found.video_weight_P[rows], found.video_labelled_P[rows] = signs, 1.0, True
        else:
            at = rows, segment_V[chosen_V]
            found.sign_PS[at], found.weight_PS[at], found.labelled_PS[at] = signs, 1.0, True
    return np.flatnonzero(careful_P)
