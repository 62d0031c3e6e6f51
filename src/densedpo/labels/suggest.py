"""Which segments a person should label next: where labellers disagree, where only machines spoke, where nobody did."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.store.consensus import SIGNS, ConsensusPolicy, ConsensusSettings, support, tally, votes_of
from densedpo.store.gold import gold_pairs
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, Split
from densedpo.store.segments import Segment, segment_grid
from densedpo.store.voters import measured

# Added to how much the labels disagree: a person's word is worth most where none has spoken yet.
MACHINE_ONLY, UNLABELLED = 0.5, 0.25
UNCLEAR = 0.5  # added where there are opinions, and the consensus makes no label of them


class SuggestSettings(ConsensusSettings):
    """How many segments, of which pairs, and where the list goes."""

    count: int = Field(50, gt=0, description="How many segments.")
    out: Path | None = Field(None, description="File, .json or .csv; suggestions.csv in the project if not given.")
    aspect: str = Field("overall", description="Look at labels on this aspect.")
    split: Split | None = Field(None, description="Pairs of this split only; all if not given.")
    include_near_identical: bool = Field(False, description="Also pairs whose members hardly differ.")
    per_pair: int = Field(2, gt=0, description="At most so many segments of one pair.")


@dataclass(frozen=True)
class Suggestion:
    """One segment. `votes_a`, `votes_tie`, `votes_b` count opinions; `start` and `end` are seconds."""

    pair: str
    segment: int
    start: float
    end: float
    score: float
    reason: str
    votes_a: int
    votes_tie: int
    votes_b: int
    people: int


@dataclass(frozen=True)
class Suggestions:
    """The file that was written, its rows, and how many segments have labellers who disagree."""

    file: Path
    rows: tuple[Suggestion, ...]
    undecided: int


def suggest(project: Project, settings: SuggestSettings) -> Suggestions:
    """Rank all segments and write the first ones as JSON or CSV. Raises UserError if there are no pairs."""
    path = settings.out or project.root / "suggestions.csv"
    if path.suffix not in (".json", ".csv"):
        raise UserError(f"--out must end in .json or .csv, got {path}")
    labels: dict[str, list[Label]] = defaultdict(list)
    for label in project.labels():
        labels[label.pair].append(label)
    everything = (label for given in labels.values() for label in given)
    policy = measured(settings.policy(settings.aspect), everything, settings.gold)
    known = set(gold_pairs(project))  # their right answers are known, and people's labels on them are no votes
    rows = [
        row
        for pair in project.pairs(settings.split)
        if (settings.include_near_identical or not pair.near_identical) and pair.id not in known
        for row in _of_pair(project, pair, labels[pair.id], policy, settings.per_pair)
    ]
    if not rows:
        raise UserError(f"{project.root} has no pairs to label; make some with `densedpo pairs`")
    rows.sort(key=lambda row: (-row.score, row.pair, row.segment))
    chosen = tuple(rows[: settings.count])
    write_text_atomic(path, _text(chosen, "json" if path.suffix == ".json" else "csv"))
    undecided = sum((row.votes_a > 0) + (row.votes_tie > 0) + (row.votes_b > 0) > 1 for row in rows)
    return Suggestions(path, chosen, undecided)


def _of_pair(
    project: Project, pair: Pair, labels: Sequence[Label], policy: ConsensusPolicy, most: int
) -> list[Suggestion]:
    """The `most` useful segments of the pair."""
    votes, here = votes_of(labels, policy), [label for label in labels if label.aspect == policy.aspect]
    people = {label.segment for label in here if label.annotator_kind == "human"}
    machines = {label.segment for label in here if label.annotator_kind != "human"}
    rows = []
    for segment in segment_grid(pair.frames, pair.fps, project.settings.segment_seconds):
        given = [label for label in votes if label.segment == segment.index]
        rows.append(_rate(pair, segment, given, policy, segment.index in people, segment.index in machines))
    return sorted(rows, key=lambda row: -row.score)[:most]


def _rate(
    pair: Pair, segment: Segment, votes: Sequence[Label], policy: ConsensusPolicy, person: bool, machine: bool
) -> Suggestion:
    """Score one segment: the spread of its labels, doubt of those who gave them, more where no `person` was asked."""
    signs = [SIGNS[label.choice] for label in votes]
    spread = _spread(votes, policy)
    stated = [_stated(label) for label in votes]
    doubts = [1 - confidence for confidence in stated if confidence is not None]
    doubt = float(np.mean(doubts)) if doubts else 0.0
    unclear = bool(votes) and tally(votes, policy) is None
    bonus = 0.0 if person else MACHINE_ONLY if machine else UNLABELLED
    alone = "nobody labelled it" if not machine else "machines only" if votes else "machines could not tell"
    reasons = [
        *(["labellers disagree"] if len(set(signs)) > 1 else []),
        *(["no clear consensus"] if unclear else []),
        *(["low confidence"] if doubt > 0.5 else []),
        *([] if person else [alone]),
    ]
    return Suggestion(
        pair=pair.id,
        segment=segment.index,
        start=segment.start,
        end=segment.end,
        score=round(spread + doubt / 2 + bonus + UNCLEAR * unclear, 6),
        reason=", ".join(reasons) or "settled",
        votes_a=signs.count(1),
        votes_tie=signs.count(0),
        votes_b=signs.count(-1),
        people=sum(label.annotator_kind == "human" for label in votes),
    )


def _spread(votes: Sequence[Label], policy: ConsensusPolicy) -> float:
    """Standard deviation of the sign, by the consensus: 0 where all agree, 1 where half say a and half b."""
    if not votes:
        return 0.0
    a, _, b = support(votes, policy)
    return float(np.sqrt(max(0.0, a + b - (a - b) ** 2)))


def _stated(label: Label) -> float | None:
    """The confidence that was stated. A vision-language judge states none for a tie of two orders that disagree."""
    disagreed = label.annotator_kind == "vlm" and label.choice == "tie" and label.confidence is None
    return 0.0 if disagreed else label.confidence


def _text(rows: Sequence[Suggestion], kind: Literal["json", "csv"]) -> str:
    if kind == "json":
        return json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Suggestion)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return buffer.getvalue()
