"""Scores of many clips as arrays, and what the simulated annotator says of each two of a row.

Shapes: P prompts (or guide clips), K clips of each, S segments.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from densedpo.gates.samples import Take, Takes
from densedpo.gates.statistics import Floats, Integers
from densedpo.judges.oracle import OracleAnnotator, OracleAnnotatorSettings

_SIGN = {"a": 1, "b": -1, "tie": 0}


@dataclass(frozen=True)
class Verdicts:
    """1 where the row's clip is preferred to the column's, -1 the other way round, 0 for a tie."""

    whole_PKK: Integers
    segments_PKKS: Integers


def per_clip(takes: Takes, value: Callable[[Take], float]) -> Floats:
    """`[P, K]`."""
    return np.array([[value(each) for each in row] for row in takes])


def quality(takes: Takes) -> Floats:
    """Visual quality `[P, K]`."""
    return per_clip(takes, lambda each: each.scores.whole.visual_quality)


def speed(takes: Takes) -> Floats:
    """True speed `[P, K]`, pixels per frame, as the oracle measures it."""
    return per_clip(takes, lambda each: each.scores.whole.dynamic_degree)


def segment_scores(takes: Takes, aspect: str) -> Floats:
    """One aspect of every segment's scores, `[P, K, S]`."""
    return np.array([[[getattr(part, aspect) for part in each.scores.segments] for each in row] for row in takes])


def verdicts(takes: Takes, name: str) -> Verdicts:
    """Let the annotator, as it is by default, judge every two clips of a row; `name` tells its noise apart."""
    annotator = OracleAnnotator(OracleAnnotatorSettings())
    rows, count, segments = len(takes), len(takes[0]), len(takes[0][0].scores.segments)
    whole_PKK = np.zeros((rows, count, count), dtype=np.int64)
    segments_PKKS = np.zeros((rows, count, count, segments), dtype=np.int64)
    for row, (i, j) in itertools.product(range(rows), itertools.combinations(range(count), 2)):
        a, b, pair = takes[row][i].scores, takes[row][j].scores, f"{name}/{row}/{i}/{j}"
        sign = _SIGN[annotator.decide(pair, a.whole, b.whole, None).choice]
        signs = [
            _SIGN[annotator.decide(pair, x, y, index).choice]
            for index, (x, y) in enumerate(zip(a.segments, b.segments, strict=True))
        ]
        whole_PKK[row, i, j], whole_PKK[row, j, i] = sign, -sign
        segments_PKKS[row, i, j], segments_PKKS[row, j, i] = signs, [-each for each in signs]
    return Verdicts(whole_PKK, segments_PKKS)
