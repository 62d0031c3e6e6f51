"""What annotators decided about each pair, segment by segment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from densedpo.store.consensus import ConsensusPolicy, consensus, global_consensus, is_mixed
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair
from densedpo.store.segments import Segment, segment_grid

Outcome = Literal["a", "tie", "b"]
POLICY = ConsensusPolicy()
BY_SIGN: dict[int, Outcome] = {1: "a", 0: "tie", -1: "b"}


@dataclass(frozen=True)
class PairOutcome:
    """A pair with one outcome per segment, and one for the video as a whole; None where nobody decided.

    `mixed`: each member wins at least one segment.
    """

    pair: Pair
    segments: tuple[Segment, ...]
    outcomes: tuple[Outcome | None, ...]
    whole: Outcome | None
    mixed: bool

    @property
    def labelled(self) -> tuple[Outcome, ...]:
        """The outcomes of the segments somebody decided."""
        return tuple(outcome for outcome in self.outcomes if outcome is not None)


def pair_outcomes(project: Project, labels: Iterable[Label]) -> list[PairOutcome]:
    """Every pair of the project in id order, with what its labels agree on; `labels` may hold superseded ones.

    Labels on segments of another length than the project's are passed over.
    """
    labels, seconds = list(labels), project.settings.segment_seconds
    gone = {label.supersedes for label in labels}
    standing: dict[str, list[Label]] = {}
    for label in labels:
        if label.id not in gone and (label.segment is None or math.isclose(label.segment_seconds, seconds)):
            standing.setdefault(label.pair, []).append(label)
    return [_outcome(pair, standing.get(pair.id, []), seconds) for pair in project.pairs()]


def label_figures(outcomes: Sequence[PairOutcome]) -> dict[str, Any]:
    """Counts and shares over pairs and their labelled segments; a share of nothing is None."""
    labelled = [view for view in outcomes if view.labelled]
    decisions = [(i, o) for view in labelled for i, o in enumerate(view.outcomes) if o is not None]
    counts = Counter(outcome for _, outcome in decisions)
    by_segment = [(index, Counter(o for _, o in group)) for index, group in groupby(sorted(decisions), lambda d: d[0])]
    return {
        "pairs": len(outcomes),
        "labelled_pairs": len(labelled),
        "labelled_segments": len(decisions),
        "choices": _choices(counts),
        "whole_video_choices": _choices(Counter(view.whole for view in outcomes if view.whole)),
        "nontie_segment_share": share(counts["a"] + counts["b"], len(decisions)),
        "mixed_pair_share": share(sum(view.mixed for view in labelled), len(labelled)),
        "near_identical_pairs": sum(view.pair.near_identical for view in outcomes),
        "by_segment": [{"segment": index, **_choices(found)} for index, found in by_segment],
    }


def share(part: int, whole: int) -> float | None:
    """`part / whole`, or None of nothing."""
    return part / whole if whole else None


def _choices(counts: Counter[Outcome]) -> dict[str, int]:
    return {"a": counts["a"], "tie": counts["tie"], "b": counts["b"]}


def _outcome(pair: Pair, labels: Sequence[Label], seconds: float) -> PairOutcome:
    segments = segment_grid(pair.frames, pair.fps, seconds)
    found, whole = consensus(labels, segments, POLICY), global_consensus(labels, POLICY)
    outcomes = tuple(
        BY_SIGN[int(sign)] if labelled else None for sign, labelled in zip(found.sign, found.labelled, strict=True)
    )
    return PairOutcome(pair, segments, outcomes, BY_SIGN[whole[0]] if whole else None, is_mixed(found))
