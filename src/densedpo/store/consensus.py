"""Many labels of one pair become one sign and one weight for each segment. Signs: +1 a better, -1 b better, 0 tie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.store.schema import Label
from densedpo.store.segments import Segment, segment_grid

SIGNS = {"a": 1, "b": -1, "tie": 0}


class ConsensusPolicy(Settings):
    """Which labels count, and for how much."""

    aspect: str = "overall"
    confidence_weights: bool = False  # weight |a - b| / n times the mean stated confidence, instead of 1
    annotators: tuple[str, ...] | None = None  # names that count; None: all


@dataclass(frozen=True, slots=True)
class SegmentLabels:
    """One pair's labels, each [S]. A tie has sign 0 and is labelled; one nobody judged has weight 0 and is not."""

    sign: NDArray[np.int64]
    weight: NDArray[np.float64]
    labelled: NDArray[np.bool_]


def consensus(labels: Iterable[Label], segments: Sequence[Segment], policy: ConsensusPolicy) -> SegmentLabels:
    """The annotators' joint opinion on each segment of one pair.

    The choice most annotators made wins; a draw for the first place is a tie. A skip is no opinion. An annotator with
    several labels on a segment counts once, with the latest. Labels on the whole video are passed over.
    Raises UserError for a label that lies on another grid than `segments`.
    """
    kept = [label for label in _counted(labels, policy) if label.segment is not None]
    for seconds in {label.segment_seconds for label in kept}:
        _check_grid(seconds, segments)
    result = SegmentLabels(
        np.zeros(len(segments), np.int64), np.zeros(len(segments)), np.zeros(len(segments), np.bool_)
    )
    for index in {label.segment for label in kept if label.segment is not None}:
        if index >= len(segments):
            raise UserError(
                f"a label of pair {kept[0].pair} is on segment {index}, but its video has only {len(segments)} "
                "segments (the first is 0); supersede it with a skip"
            )
        votes = [label for label in kept if label.segment == index]
        result.sign[index], result.weight[index] = _tally(votes, policy)
        result.labelled[index] = True
    return result


def global_consensus(labels: Iterable[Label], policy: ConsensusPolicy) -> tuple[int, float] | None:
    """Sign and weight by the labels on the whole video, counted as in `consensus`; None if nobody gave one."""
    votes = [label for label in _counted(labels, policy) if label.segment is None]
    return _tally(votes, policy) if votes else None


def majority_vote(labels: SegmentLabels) -> int:
    """One sign for the pair: +1 if more segments say a, -1 if more say b, else 0. Ties and unlabelled have no vote."""
    return int(np.sign(labels.sign[labels.labelled].sum()))


def nontie_share(labels: SegmentLabels) -> float:
    """The share of non-ties among labelled segments; 0 if none is labelled."""
    signs = labels.sign[labels.labelled]
    return float(np.mean(signs != 0)) if signs.size else 0.0


def is_mixed(labels: SegmentLabels) -> bool:
    """Whether a wins some segments and b wins others."""
    signs = labels.sign[labels.labelled]
    return bool((signs > 0).any() and (signs < 0).any())


def _counted(labels: Iterable[Label], policy: ConsensusPolicy) -> list[Label]:
    """The labels that vote: no skips, nothing superseded, each annotator's latest on each segment."""
    given = sorted(labels, key=lambda label: (label.created, label.id))
    superseded = {label.supersedes for label in given}
    latest = {}
    for label in given:
        counts = policy.annotators is None or label.annotator in policy.annotators
        if counts and label.aspect == policy.aspect and label.choice != "skip" and label.id not in superseded:
            latest[label.segment, label.annotator_kind, label.annotator] = label
    return list(latest.values())


def _tally(votes: Sequence[Label], policy: ConsensusPolicy) -> tuple[int, float]:
    signs = [SIGNS[label.choice] for label in votes]
    a, b, ties = signs.count(1), signs.count(-1), signs.count(0)
    sign = 1 if a > max(b, ties) else -1 if b > max(a, ties) else 0
    if not policy.confidence_weights:
        return sign, 1.0
    stated = [label.confidence for label in votes if label.confidence is not None]
    return sign, abs(a - b) / len(votes) * (float(np.mean(stated)) if stated else 1.0)


def _check_grid(seconds: float, segments: Sequence[Segment]) -> None:
    frames, end = segments[-1].end_frame, segments[-1].end
    labelled_on = [segment.first_frame for segment in segment_grid(frames, frames / end, seconds)]
    if labelled_on != [segment.first_frame for segment in segments]:
        raise UserError(
            f"some labels are on segments of {seconds} s, which are not the project's; "
            "use the segment_seconds they were made with, or label again"
        )
