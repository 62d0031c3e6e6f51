"""Labels by scorers: each side's segment gets a number, and the difference says which is better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.judges.scorers import Scorer, ScorerError, Shown, find_scorer
from densedpo.judges.scorers.channels import HttpChannel, ProcessChannel
from densedpo.judges.scorers.external import ExternalScorer
from densedpo.judges.static import StaticOutcome, scorer_static_test
from densedpo.labels.scores import RememberedScores
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, Split, content_id, label_id
from densedpo.store.segments import segment_grid

KIND = "reward"

Span = tuple[int | None, int, int]  # segment (None: the whole video), first frame, end frame


class RewardLabelSettings(Settings):
    """Which scorer looks at what, and which differences are ties."""

    scorer: str = Field(
        min_length=1,
        description="blockiness, brisque, flicker, freeze, sharpness or warping_error; with --command or --server the "
        "name that the labels bear.",
    )
    command: str | None = Field(None, description="Command that starts a scorer of your own; see docs/agreement.md.")
    server: str | None = Field(None, description="Address of a scorer of your own that is running.")
    score: str = Field("overall", description="Which of its numbers, for a scorer of your own.")
    model_version: str = Field("1", description="Version of a scorer of your own; another one is another labeller.")
    tie_band: float = Field(0.0, ge=0, description="Differences up to this are ties, in the scorer's own unit.")
    calibrate: float | None = Field(
        None, gt=0, lt=1, description="Label nothing; say at which tie band this share of segments would be ties."
    )
    static_test: int | None = Field(
        None, gt=0, description="Label nothing; let it choose between so many clips and frozen copies of them."
    )
    mode: Literal["segments", "whole", "both"] = Field(
        "segments", description="Score every segment, the whole video at once, or both."
    )
    split: Split | None = Field(None, description="Pairs of this split only; all if not given.")
    pair_mode: Literal["guided", "independent", "imported"] | None = Field(
        None, description="Pairs of this mode only; all if not given."
    )
    count: int | None = Field(None, gt=0, description="The first so many of these pairs only, in id order.")
    include_near_identical: bool = Field(False, description="Also score pairs whose members hardly differ.")
    timeout: float = Field(120.0, gt=0, description="Seconds that a scorer of your own may take for an answer.")
    start_timeout: float = Field(600.0, gt=0, description="Seconds that it may take to load its model.")

    def version(self, scorer: Scorer) -> str:
        """The labeller's version: 12 hex characters over all that decides what the labels are."""
        return content_id(KIND, scorer.about.name, scorer.version, self.score, self.tie_band)[:12]


@dataclass(frozen=True)
class RewardReport:
    """What was labelled now, and what was not.

    `labels` were added to `pairs`, `segments` of them on segments; `ties` of them are ties. The scorer was asked for
    `asked` numbers, the others were known. `failed` segments or whole videos have no label, because a side could not
    be scored: the same command asks again. `known` pairs had all their labels before.
    """

    annotator: str
    annotator_version: str
    pairs: int
    labels: int
    segments: int
    ties: int
    asked: int
    failed: int
    failure: str
    known: int
    near_identical: int


@dataclass(frozen=True)
class Calibration:
    """The tie band at which `ties` of `segments` (segments or whole videos) are ties, and typical differences."""

    tie_band: float
    ties: int
    segments: int
    median: float
    largest: float


def open_scorer(settings: RewardLabelSettings) -> Scorer:
    """The scorer asked for. Raises UserError if there is none of that name, or for flags that contradict each other."""
    if settings.command is not None and settings.server is not None:
        raise UserError("--command and --server were both given; give one of them")
    if settings.calibrate is not None and settings.static_test is not None:
        raise UserError("--calibrate and --static-test were both given; run one after the other")
    if settings.command is None and settings.server is None:
        if settings.score != "overall" or settings.model_version != "1":
            raise UserError("--score and --model-version are for a scorer of your own; give --command or --server too")
        return find_scorer(settings.scorer)
    channel = (
        ProcessChannel(settings.command, settings.timeout, settings.start_timeout)
        if settings.command is not None
        else HttpChannel(settings.server or "", settings.timeout)
    )
    return ExternalScorer(settings.scorer, channel, settings.score, settings.model_version)


def label_reward(project: Project, settings: RewardLabelSettings) -> RewardReport:
    """Score both sides of every pair that lacks this scorer's labels. Running it again goes on where it stopped.

    Raises UserError if there is no such pair or scorer, for a video that is missing or damaged, and if the scorer fails
    several times in a row; labels added before it stay, and so do scores.
    """
    with project.lock("label-reward"), closing(open_scorer(settings)) as scorer:
        pairs = _pairs(project, settings)
        shown = [pair for pair in pairs if settings.include_near_identical or not pair.near_identical]
        version = settings.version(scorer)
        known = {label.id for label in project.labels(annotator=scorer.about.name, superseded=True)}
        missing = [(pair, spans) for pair in shown if (spans := _missing(project, pair, settings, scorer, known))]
        scores = RememberedScores(project, scorer, settings.score)
        labels: list[Label] = []
        failures: list[str] = []
        for pair, spans in track(missing, description=f"label reward {scorer.about.name}"):
            new = [
                _label(project, pair, span[0], margin, scorer.about.name, version, settings.tie_band)
                for span, margin in _margins(project, pair, spans, scores, failures)
            ]
            project.add_labels(new)
            labels += new
        if labels:
            project.record("label", annotator=scorer.about.name, version=version, added=len(labels))
    return RewardReport(
        annotator=scorer.about.name,
        annotator_version=version,
        pairs=len({label.pair for label in labels}),
        labels=len(labels),
        segments=sum(label.segment is not None for label in labels),
        ties=sum(label.choice == "tie" for label in labels),
        asked=scores.asked,
        failed=len(failures),
        failure=failures[0] if failures else "",
        known=len(shown) - len(missing),
        near_identical=len(pairs) - len(shown),
    )


def calibrate_reward(project: Project, settings: RewardLabelSettings) -> Calibration:
    """The smallest tie band that makes at least the share `settings.calibrate` ties; scores all, labels nothing."""
    assert settings.calibrate is not None
    with project.lock("label-reward"), closing(open_scorer(settings)) as scorer:
        pairs = [p for p in _pairs(project, settings) if settings.include_near_identical or not p.near_identical]
        scores, failures = RememberedScores(project, scorer, settings.score), list[str]()
        sizes = [
            abs(margin)
            for pair in track(pairs, description=f"score {scorer.about.name}")
            for _, margin in _margins(project, pair, _spans(project, pair, settings), scores, failures)
        ]
    if not sizes:
        raise UserError(
            f"{scorer.about.name} scored none of the {len(pairs)} pairs, so there is nothing to calibrate on"
        )
    sizes.sort()
    band = _rounded_up(sizes[math.ceil(settings.calibrate * len(sizes)) - 1])
    ties = sum(size <= band for size in sizes)
    return Calibration(band, ties, len(sizes), float(np.median(sizes)), sizes[-1])


def static_test_reward(project: Project, settings: RewardLabelSettings) -> StaticOutcome:
    """Whether the scorer prefers frozen copies, on `settings.static_test` clips; recorded for the agreement page."""
    assert settings.static_test is not None
    with project.lock("label-reward"), closing(open_scorer(settings)) as scorer:
        version = settings.version(scorer)
        return scorer_static_test(project, scorer, version, settings.static_test, settings.tie_band)


def _rounded_up(value: float) -> float:
    """To four significant digits, so that it can be typed."""
    if not value:
        return 0.0
    places = 3 - math.floor(math.log10(value))
    return round(math.ceil(value * 10.0**places) / 10.0**places, max(0, places))


def _pairs(project: Project, settings: RewardLabelSettings) -> list[Pair]:
    pairs = list(project.pairs(settings.split, settings.pair_mode))
    if not pairs:
        asked = (("split", settings.split), ("mode", settings.pair_mode))
        which = " and ".join(f"{what} {value}" for what, value in asked if value)
        raise UserError(
            f"{project.root} has no pairs{f' with {which}' if which else ''} to label; make some with `densedpo pairs`"
        )
    return pairs[: settings.count]


def _spans(project: Project, pair: Pair, settings: RewardLabelSettings) -> list[Span]:
    """What of the pair is scored, by frames."""
    grid = segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)
    spans: list[Span] = [] if settings.mode == "whole" else [(s.index, s.first_frame, s.end_frame) for s in grid]
    return spans if settings.mode == "segments" else [*spans, (None, 0, pair.frames)]


def _missing(
    project: Project, pair: Pair, settings: RewardLabelSettings, scorer: Scorer, known: set[str]
) -> list[Span]:
    identity = {
        "pair": pair.id,
        "segment_seconds": project.settings.segment_seconds,
        "aspect": "overall",
        "annotator_kind": KIND,
        "annotator": scorer.about.name,
        "annotator_version": settings.version(scorer),
        "assignment": None,
        "supersedes": None,
    }
    return [span for span in _spans(project, pair, settings) if label_id(segment=span[0], **identity) not in known]


def _margins(
    project: Project, pair: Pair, spans: Sequence[Span], scores: RememberedScores, failures: list[str]
) -> Iterator[tuple[Span, float]]:
    """By how much a is better than b on each span; what could not be scored is added to `failures` instead."""
    for span in spans:
        sides = []
        try:
            for side, media in (("a", pair.media_a), ("b", pair.media_b)):
                shown = Shown(
                    id=content_id(pair.id, side, *span),
                    video=project.media_path(media),
                    caption=pair.prompt,
                    first_frame=span[1],
                    end_frame=span[2],
                    fps=pair.fps,
                )
                sides.append(scores.score(media, shown))
        except ScorerError as error:
            failures.append(f"pair {pair.id}, {'whole video' if span[0] is None else f'segment {span[0]}'}: {error}")
            continue
        yield span, sides[0] - sides[1]


def _label(
    project: Project, pair: Pair, segment: int | None, margin: float, annotator: str, version: str, tie_band: float
) -> Label:
    return Label.make(
        pair=pair.id,
        seen=content_id(pair.media_a, pair.media_b),
        segment=segment,
        segment_seconds=project.settings.segment_seconds,
        choice="tie" if abs(margin) <= tie_band else "a" if margin > 0 else "b",
        annotator_kind=KIND,
        annotator=annotator,
        annotator_version=version,
    )
