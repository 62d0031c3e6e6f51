"""How far each annotator can be trusted, measured over a whole project, for a consensus that knows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.stats.dawid_skene import dawid_skene
from densedpo.store.consensus import PLACES, SIGNS, ConsensusPolicy, Measured, voter, votes_of
from densedpo.store.schema import Label

IMAGINED_RIGHT, IMAGINED = 2, 3  # answers that every annotator is credited with: nobody's accuracy starts at 0 or 1
EVEN = (1 / 3, 1 / 3, 1 / 3)


def measured(policy: ConsensusPolicy, labels: Iterable[Label], gold: str | None = None) -> ConsensusPolicy:
    """The policy with what its method needs to know about the annotators; a majority policy as it is.

    Call it once with all labels of a project. Segments and whole videos are measured apart. `weighted` measures each
    annotator's accuracy against the annotator named `gold`, or, without one, against the majority of the others;
    `dawid-skene` fits the model of `stats/dawid_skene.py` and takes no gold.
    Raises UserError if nobody is named `gold`, or for gold with another method.
    """
    if gold is not None and policy.method != "weighted":
        raise UserError(f"gold is for the method weighted, but the method is {policy.method}; leave one of them out")
    if policy.method == "majority":
        return policy
    by_pair: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_pair[label.pair].append(label)
    everybody = policy.model_copy(update={"humans_override": False})  # machines are measured where people were, too
    votes = [label for given in by_pair.values() for label in votes_of(given, everybody)]
    if gold is not None and all(label.annotator != gold for label in votes):
        raise UserError(f"nobody named {gold} has labels on {policy.aspect}; name one of those who labelled as gold")
    return policy.model_copy(
        update={
            "on_segments": _measure([label for label in votes if label.segment is not None], policy, gold),
            "on_videos": _measure([label for label in votes if label.segment is None], policy, gold),
        }
    )


def _measure(votes: Sequence[Label], policy: ConsensusPolicy, gold: str | None) -> Measured | None:
    if not votes:
        return None
    names = sorted({voter(label) for label in votes})
    units = sorted({(label.pair, label.segment) for label in votes}, key=str)
    rows, columns = {unit: i for i, unit in enumerate(units)}, {name: i for i, name in enumerate(names)}
    if policy.method == "dawid-skene":
        ratings_UR = np.full((len(units), len(names)), np.nan)
        for label in votes:
            ratings_UR[rows[label.pair, label.segment], columns[voter(label)]] = SIGNS[label.choice]
        fitted = dawid_skene(ratings_UR)
        return _as_measured(fitted.prior_J.tolist(), names, fitted.chosen_RJK.tolist())
    answers_URK = np.zeros((len(units), len(names), 3))
    truth_UK = np.zeros((len(units), 3))
    for label in votes:
        answers_URK[rows[label.pair, label.segment], columns[voter(label)], PLACES[label.choice]] = 1
        if label.annotator == gold:
            truth_UK[rows[label.pair, label.segment], PLACES[label.choice]] += 1
    votes_UK = answers_URK.sum(axis=1)
    chosen = []
    for rater in range(len(names)):
        given_UK = answers_URK[:, rater]
        accuracy = _accuracy(given_UK, truth_UK if gold is not None else votes_UK - given_UK)
        wrong = (1 - accuracy) / 2
        chosen.append([[accuracy if truth == place else wrong for place in range(3)] for truth in range(3)])
    return _as_measured(list(EVEN), names, chosen)


def _accuracy(given_UK: NDArray[np.float64], reference_UK: NDArray[np.float64]) -> float:
    """The share of right answers where the reference has one first place; at least that of a blind guess."""
    first_UK = reference_UK == reference_UK.max(axis=1, keepdims=True)
    compared_U = (first_UK.sum(axis=1) == 1) & (given_UK.sum(axis=1) > 0)
    right = float((given_UK * first_UK)[compared_U].sum())
    return max(1 / 3, (right + IMAGINED_RIGHT) / (float(compared_U.sum()) + IMAGINED))


def _as_measured(prior: list[float], names: Sequence[str], chosen: list[list[list[float]]]) -> Measured:
    return Measured.model_validate({"prior": prior, "chosen": dict(zip(names, chosen, strict=True))})
