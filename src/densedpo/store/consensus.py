"""Many labels of one pair become one sign and one weight for each segment. Signs: +1 a better, -1 b better, 0 tie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.store.schema import Label
from densedpo.store.segments import Segment, segment_grid

SIGNS = {"a": 1, "b": -1, "tie": 0}
PLACES = {"a": 0, "tie": 1, "b": 2}
_SAME = 1e-9  # relative; probabilities this near are a draw


Chances = tuple[float, float, float]  # of a, tie, b


class Measured(Settings):
    """How annotators answer, as measured over a whole project by `voters.measured`.

    `prior` is how often each choice is true; `chosen[kind/name][truth][choice]` how often one answers what.
    """

    prior: Chances
    chosen: dict[str, tuple[Chances, Chances, Chances]]


class ConsensusPolicy(Settings):
    """Which labels count, and for how much.

    With `weighted` or `dawid-skene` the choice is the most probable one, given how each annotator was found to answer:
    let `voters.measured` fill in `on_segments` and `on_videos` first. People who override are counted by majority, so
    that no model of them can turn what they said.
    """

    aspect: str = "overall"
    confidence_weights: bool = False  # weight |a - b| / n times the mean stated confidence, instead of 1
    annotators: tuple[str, ...] | None = None  # names that count; None: all
    method: Literal["majority", "weighted", "dawid-skene"] = "majority"
    humans_override: bool = False  # where a person has an opinion, machines have none
    draw: Literal["tie", "unlabelled"] = "tie"  # what a draw for the first place is
    minimum_confidence: float = Field(0.0, ge=0, le=1)  # share of votes, or probability; below it: unlabelled
    on_segments: Measured | None = None
    on_videos: Measured | None = None


class ConsensusSettings(Settings):
    """How many labels become one, as commands take it: the fields mean the same in each of them."""

    consensus: Literal["majority", "weighted", "dawid-skene"] = Field(
        "majority",
        description="How many labels become one: most votes, votes weighted by each annotator's measured accuracy, or "
        "the most probable answer by Dawid and Skene's model.",
    )
    gold: str | None = Field(None, description="For weighted: whose labels accuracy is measured against.")
    humans_override: bool = Field(False, description="Where a person has an opinion, machines have none.")
    draw: Literal["tie", "unlabelled"] = Field("tie", description="What a draw for the first place is.")
    minimum_confidence: float = Field(
        0.0, ge=0, le=1, description="Share of votes, or probability, below which a segment is unlabelled."
    )

    def policy(self, aspect: str) -> ConsensusPolicy:
        """The policy for labels on `aspect`; `voters.measured` makes it ready."""
        return ConsensusPolicy(
            aspect=aspect,
            method=self.consensus,
            humans_override=self.humans_override,
            draw=self.draw,
            minimum_confidence=self.minimum_confidence,
        )


@dataclass(frozen=True, slots=True)
class SegmentLabels:
    """One pair's labels, each [S]. A tie has sign 0 and is labelled; one nobody judged has weight 0 and is not."""

    sign: NDArray[np.int64]
    weight: NDArray[np.float64]
    labelled: NDArray[np.bool_]


def consensus(labels: Iterable[Label], segments: Sequence[Segment], policy: ConsensusPolicy) -> SegmentLabels:
    """The annotators' joint opinion on each segment of one pair.

    The choice most annotators made (or the most probable one, see `ConsensusPolicy`) wins; a draw for the first place
    is a tie unless the policy says otherwise. A skip is no opinion. An annotator with several labels on a segment
    counts once, with the latest. Labels on the whole video are passed over.
    Raises UserError for a label that lies on another grid than `segments`.
    """
    kept = [label for label in votes_of(labels, policy) if label.segment is not None]
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
        opinion = tally([label for label in kept if label.segment == index], policy)
        if opinion is not None:
            result.sign[index], result.weight[index] = opinion
            result.labelled[index] = True
    return result


def global_consensus(labels: Iterable[Label], policy: ConsensusPolicy) -> tuple[int, float] | None:
    """Sign and weight by the labels on the whole video, counted as in `consensus`; None if nobody gave one."""
    votes = [label for label in votes_of(labels, policy) if label.segment is None]
    return tally(votes, policy) if votes else None


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


def votes_of(labels: Iterable[Label], policy: ConsensusPolicy) -> list[Label]:
    """One pair's labels that vote: no skips, nothing superseded, each annotator's latest on each segment."""
    given = sorted(labels, key=lambda label: (label.created, label.id))
    superseded = {label.supersedes for label in given}
    latest = {}
    for label in given:
        counts = policy.annotators is None or label.annotator in policy.annotators
        if counts and label.aspect == policy.aspect and label.choice != "skip" and label.id not in superseded:
            latest[label.segment, label.annotator_kind, label.annotator] = label
    votes = list(latest.values())
    if not policy.humans_override:
        return votes
    by_people = {label.segment for label in votes if label.annotator_kind == "human"}
    return [label for label in votes if label.annotator_kind == "human" or label.segment not in by_people]


def voter(label: Label) -> str:
    """The name under which `Measured` knows who gave the label."""
    return f"{label.annotator_kind}/{label.annotator}"


def tally(votes: Sequence[Label], policy: ConsensusPolicy) -> tuple[int, float] | None:
    """Sign and weight of votes (see `votes_of`) on one segment; None where the policy sees no clear opinion."""
    a, tie, b = support(votes, policy)
    most = max(a, tie, b)
    first = [sign for sign, share in ((1, a), (0, tie), (-1, b)) if share >= most * (1 - _SAME)]
    if most < policy.minimum_confidence * (1 - _SAME) or (len(first) > 1 and policy.draw == "unlabelled"):
        return None
    sign = first[0] if len(first) == 1 else 0
    if not policy.confidence_weights:
        return sign, 1.0
    stated = [label.confidence for label in votes if label.confidence is not None]
    counts_stated = stated and _by_majority(votes, policy)  # the other methods know how far each can be trusted
    return sign, abs(a - b) * (float(np.mean(stated)) if counts_stated else 1.0)


def support(votes: Sequence[Label], policy: ConsensusPolicy) -> Chances:
    """How far votes (see `votes_of`) on one segment speak for a, tie and b: shares of votes, or probabilities."""
    if not _by_majority(votes, policy):
        return _probabilities(votes, policy)
    choices = [label.choice for label in votes]
    a, tie, b = (choices.count(choice) / len(votes) for choice in ("a", "tie", "b"))
    return a, tie, b


def _by_majority(votes: Sequence[Label], policy: ConsensusPolicy) -> bool:
    return policy.method == "majority" or (policy.humans_override and votes[0].annotator_kind == "human")


def _probabilities(votes: Sequence[Label], policy: ConsensusPolicy) -> Chances:
    """Bayes' rule over the votes on one segment: P(truth | votes) ~ P(truth) prod_r P(vote of r | truth)."""
    measured = policy.on_videos if votes[0].segment is None else policy.on_segments
    if measured is None:
        raise ValueError(f"{policy.method} consensus needs measured annotators; call `voters.measured` first")
    odds = np.array(measured.prior)
    for label in sorted(votes, key=voter):
        odds = odds * np.array(measured.chosen[voter(label)])[:, PLACES[label.choice]]
        odds = odds / odds.sum()
    a, tie, b = (float(chance) for chance in odds)
    return a, tie, b


def _check_grid(seconds: float, segments: Sequence[Segment]) -> None:
    frames, end = segments[-1].end_frame, segments[-1].end
    labelled_on = [segment.first_frame for segment in segment_grid(frames, frames / end, seconds)]
    if labelled_on != [segment.first_frame for segment in segments]:
        raise UserError(
            f"some labels are on segments of {seconds} s, which are not the project's; "
            "use the segment_seconds they were made with, or label again"
        )
