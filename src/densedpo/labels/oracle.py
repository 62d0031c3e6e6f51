"""Labels by the simulated annotator of the tiny world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from densedpo.errors import UserError
from densedpo.judges.oracle import Judgement, OracleAnnotator, OracleAnnotatorSettings
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, Split, content_id, label_id
from densedpo.store.segments import Segment, segment_grid
from densedpo.tinyworld.world import parse_caption
from densedpo.video.io import Frames, read_video

KIND = ANNOTATOR = "oracle"


class OracleLabelSettings(OracleAnnotatorSettings):
    """What the simulated annotator is shown, and how carefully it looks."""

    mode: Literal["segments", "whole", "both"] = Field(
        "segments", description="Judge every segment, the whole video at once, or both."
    )
    split: Split | None = Field(None, description="Pairs of this split only; all if not given.")
    pair_mode: Literal["guided", "independent", "imported"] | None = Field(
        None, description="Pairs of this mode only; all if not given."
    )
    include_near_identical: bool = Field(
        False, description="Also judge pairs whose members hardly differ; they say next to nothing."
    )
    seed: int = Field(0, ge=0, description="Seed of the annotator's noise and of the order of showing.")

    @property
    def annotator(self) -> OracleAnnotatorSettings:
        """The part that decides what the labels are."""
        return OracleAnnotatorSettings(**{name: getattr(self, name) for name in OracleAnnotatorSettings.model_fields})

    @property
    def version(self) -> str:
        """The annotator's version: 12 hex characters over its settings, so another noise is another annotator."""
        return content_id(ANNOTATOR, self.annotator.model_dump(mode="json"))[:12]


@dataclass(frozen=True)
class LabelReport:
    """What was labelled now, and what was not.

    `labels` were added to `pairs`, `segments` of them on segments and the others on whole videos; `ties` of them are
    ties. `known` pairs had all of theirs before; `near_identical` pairs were passed over.
    """

    annotator_version: str
    pairs: int
    labels: int
    segments: int
    ties: int
    known: int
    near_identical: int


def label_oracle(project: Project, settings: OracleLabelSettings) -> LabelReport:
    """Let the simulated annotator judge every pair that lacks its labels. Running it again goes on where it stopped.

    A pair's labels are added together. Raises UserError if there is no such pair, or if a pair's caption is not one of
    the tiny world; no label is added then. Raises UserError for a video that is missing or damaged; labels added
    before it stay.
    """
    with project.lock("label-oracle"):
        pairs = _pairs(project, settings)
        shown = [pair for pair in pairs if settings.include_near_identical or not pair.near_identical]
        _check_captions(shown)
        done = {label.id for label in project.labels(annotator=ANNOTATOR, superseded=True)}
        missing = [pair for pair in shown if not done.issuperset(_expected(project, pair, settings))]
        labels: list[Label] = []
        for pair in track(missing, description="label oracle"):
            new = [label for label in _judge(project, pair, settings) if label.id not in done]
            project.add_labels(new)
            labels += new
        if labels:
            project.record("label", annotator=ANNOTATOR, version=settings.version, added=len(labels))
    return LabelReport(
        annotator_version=settings.version,
        pairs=len(missing),
        labels=len(labels),
        segments=sum(label.segment is not None for label in labels),
        ties=sum(label.choice == "tie" for label in labels),
        known=len(shown) - len(missing),
        near_identical=len(pairs) - len(shown),
    )


def _pairs(project: Project, settings: OracleLabelSettings) -> list[Pair]:
    pairs = list(project.pairs(settings.split, settings.pair_mode))
    if not pairs:
        which = [
            f"{what} {value}" for what, value in (("split", settings.split), ("mode", settings.pair_mode)) if value
        ]
        among = f" with {' and '.join(which)}" if which else ""
        raise UserError(f"{project.root} has no pairs{among} to label; make some with `densedpo pairs`")
    return pairs


def _check_captions(pairs: Sequence[Pair]) -> None:
    """Raise UserError, before any work, if a prompt is not a caption of the tiny world."""
    foreign = {pair.prompt: reason for pair in pairs if (reason := _not_understood(pair.prompt))}
    if foreign:
        raise UserError(
            f"`label oracle` understands captions of the tiny world only, but {len(foreign)} prompts of these pairs "
            f"are of another kind ({next(iter(foreign.values()))}); let people label such pairs with "
            "`densedpo annotate`, or machines with `densedpo label vlm` or `densedpo label reward`"
        )


def _not_understood(prompt: str) -> str | None:
    try:
        parse_caption(prompt)
    except ValueError as error:
        return str(error)
    return None


def _grid(project: Project, pair: Pair) -> tuple[Segment, ...]:
    return segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)


def _expected(project: Project, pair: Pair, settings: OracleLabelSettings) -> Iterator[str]:
    """The ids of the labels that this annotator gives the pair."""
    segments: list[int | None] = [] if settings.mode == "whole" else [each.index for each in _grid(project, pair)]
    for segment in segments if settings.mode == "segments" else [*segments, None]:
        yield label_id(
            pair=pair.id,
            segment=segment,
            segment_seconds=project.settings.segment_seconds,
            aspect="overall",
            annotator_kind=KIND,
            annotator=ANNOTATOR,
            annotator_version=settings.version,
            assignment=None,
            supersedes=None,
        )


def _judge(project: Project, pair: Pair, settings: OracleLabelSettings) -> Iterator[Label]:
    """Look at the two videos of a pair and give a label for each judgement."""
    a, b = (_frames(project, pair, digest) for digest in (pair.media_a, pair.media_b))
    annotator = OracleAnnotator(settings.annotator)
    judgements: list[Judgement] = []
    if settings.mode != "whole":
        judgements += annotator.judge_pair(pair.id, a, b, pair.prompt, _grid(project, pair))
    if settings.mode != "segments":
        judgements.append(annotator.judge_whole(pair.id, a, b, pair.prompt))
    for judgement in judgements:
        yield Label.make(
            pair=pair.id,
            seen=content_id(pair.media_a, pair.media_b),
            segment=judgement.segment,
            segment_seconds=project.settings.segment_seconds,
            choice=judgement.choice,
            annotator_kind=KIND,
            annotator=ANNOTATOR,
            annotator_version=settings.version,
            order_shown=order_shown(settings.seed, pair.id, judgement.segment),
        )


def _frames(project: Project, pair: Pair, digest: str) -> Frames:
    path = project.media_path(digest)
    frames, _ = read_video(path)
    if len(frames) != pair.frames:
        raise UserError(f"{path} has {len(frames)} frames, but pair {pair.id} {pair.frames}; see `densedpo validate`")
    return frames


def order_shown(seed: int, pair: str, segment: int | None) -> Literal["ab", "ba"]:
    """Which video is shown first: a fair coin, a function of the seed, the pair and the segment."""
    return "ab" if int(content_id("order", seed, pair, segment), 16) % 2 else "ba"
