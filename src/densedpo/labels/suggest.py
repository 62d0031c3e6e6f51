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

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.store.consensus import SIGNS, ConsensusPolicy, votes_of
from densedpo.store.gold import gold_pairs
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, Split
from densedpo.store.segments import Segment, segment_grid

# Added to how much the labels disagree: a person's word is worth most where none has spoken yet.
MACHINE_ONLY, UNLABELLED = 0.5, 0.25


class SuggestSettings(Settings):
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
    known = set(gold_pairs(project))  # their right answers are known, and people's labels on them are no votes
    rows = [
        row
        for pair in project.pairs(settings.split)
        if (settings.include_near_identical or not pair.near_identical) and pair.id not in known
        for row in _of_pair(project, pair, labels[pair.id], settings)
    ]
    if not rows:
        raise UserError(f"{project.root} has no pairs to label; make some with `densedpo pairs`")
    rows.sort(key=lambda row: (-row.score, row.pair, row.segment))
    chosen = tuple(rows[: settings.count])
    write_text_atomic(path, _text(chosen, "json" if path.suffix == ".json" else "csv"))
    undecided = sum((row.votes_a > 0) + (row.votes_tie > 0) + (row.votes_b > 0) > 1 for row in rows)
    return Suggestions(path, chosen, undecided)


def _of_pair(project: Project, pair: Pair, labels: Sequence[Label], settings: SuggestSettings) -> list[Suggestion]:
    """The pair's segments, the most useful ones only."""
    votes = votes_of(labels, ConsensusPolicy(aspect=settings.aspect))
    asked = {label.segment for label in labels if label.annotator_kind == "human" and label.aspect == settings.aspect}
    grid = segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)
    rows = [
        _rate(pair, segment, [label for label in votes if label.segment == segment.index], segment.index in asked)
        for segment in grid
    ]
    return sorted(rows, key=lambda row: -row.score)[: settings.per_pair]


def _rate(pair: Pair, segment: Segment, votes: Sequence[Label], asked: bool) -> Suggestion:
    """Score one segment: the spread of its labels, doubt of those who gave them, more where no person was `asked`."""
    signs = [SIGNS[label.choice] for label in votes]
    spread = float(np.std(signs)) if signs else 0.0  # 0: all agree; 1: half a, half b
    stated = [label.confidence for label in votes if label.confidence is not None]
    doubt = 1 - float(np.mean(stated)) if stated else 0.0
    bonus = 0.0 if asked else MACHINE_ONLY if votes else UNLABELLED
    reasons = [
        *(["labellers disagree"] if spread else []),
        *(["low confidence"] if doubt > 0.5 else []),
        *([] if asked else ["machines only"] if votes else ["nobody labelled it"]),
    ]
    return Suggestion(
        pair=pair.id,
        segment=segment.index,
        start=segment.start,
        end=segment.end,
        score=round(spread + doubt / 2 + bonus, 6),
        reason=", ".join(reasons) or "settled",
        votes_a=signs.count(1),
        votes_tie=signs.count(0),
        votes_b=signs.count(-1),
        people=sum(label.annotator_kind == "human" for label in votes),
    )


def _text(rows: Sequence[Suggestion], kind: Literal["json", "csv"]) -> str:
    if kind == "json":
        return json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Suggestion)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return buffer.getvalue()
