"""The work of a vision-language judge, unit by unit: one segment (or whole video) of one pair, and one aspect."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from densedpo.chunks import batched
from densedpo.errors import UserError
from densedpo.judges.vlm import instruction
from densedpo.judges.vlm.frames import show, shown_frames, shown_size
from densedpo.judges.vlm.question import Question, estimated_tokens
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels.oracle import order_shown
from densedpo.labels.vlm_settings import VlmLabelSettings
from densedpo.labels.vlm_verdict import join
from densedpo.store.judgements import Judgement, count_judgements, find_judgements, known_labels
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, content_id, label_id
from densedpo.store.segments import segment_grid
from densedpo.video.io import Frames, read_video

KIND = "vlm"
PAIRS_AT_A_TIME = 50
FRAME_LABEL = 24  # characters, about, of the words before one picture


@dataclass(frozen=True, slots=True)
class Place:
    """One label to come: of `pair`, its frames `first` up to, not including, `end`; segment None is the whole video."""

    pair: Pair
    segment: int | None
    first: int
    end: int
    aspect: str


@dataclass
class Unit:
    """A place with its questions and, as they come, their answers by question id."""

    place: Place
    questions: tuple[Question, ...]
    known: dict[str, Judgement]  # those that were answered before
    answers: dict[str, Judgement | None] = field(default_factory=dict)  # None: nobody answered

    @property
    def given(self) -> list[Judgement]:
        """The answers, in the order of the questions; fewer than questions if some were not answered."""
        answers = [self.answers.get(question.id) for question in self.questions]
        return [answer for answer in answers if answer is not None]


@dataclass
class Survey:
    """What there is to do: `units` lack a label, and cost `calls` questions of about `tokens_in` tokens in all.

    `known` pairs have all their labels; `answered` questions were answered before and are not asked again.
    """

    pairs: int = 0
    known: int = 0
    near_identical: int = 0
    units: int = 0
    calls: int = 0
    answered: int = 0
    tokens_in: int = 0


def orders(judge: JudgeSettings, place: Place) -> tuple[Literal["ab", "ba"], ...]:
    """In which orders a place is shown: both, or one by a coin that is a function of the place."""
    return ("ab", "ba") if judge.both_orders else (order_shown(0, place.pair.id, place.segment),)


def survey(project: Project, settings: VlmLabelSettings, judge: JudgeSettings) -> Survey:
    """Count the work; holds a few pairs at a time and decodes nothing. Raises UserError if there are no such pairs."""
    found = Survey()
    for batch in batched(_pairs(project, settings), PAIRS_AT_A_TIME):
        shown = [pair for pair in batch if settings.include_near_identical or not pair.near_identical]
        places = _open_places(project, judge, shown)
        before = count_judgements(project, judge.judge_version, {place.pair.id for place in places})
        found.pairs += len(batch)
        found.near_identical += len(batch) - len(shown)
        found.known += len(shown) - len({place.pair.id for place in places})
        for place in places:
            asked = len(orders(judge, place)) * judge.votes
            done = min(asked, before.get((place.pair.id, place.segment, place.aspect), 0))
            found.units += 1
            found.answered += done
            found.calls += asked - done
            found.tokens_in += (asked - done) * _tokens(judge, place)
    if not found.pairs:
        raise UserError(f"{project.root} has no such pairs to label; make some with `densedpo pairs`")
    return found


def units(project: Project, settings: VlmLabelSettings, judge: JudgeSettings) -> Iterator[Unit]:
    """The units that lack a label, in the pairs' order; holds the videos of one pair at a time.

    Raises UserError for a video that is missing or damaged.
    """
    for batch in batched(_pairs(project, settings), PAIRS_AT_A_TIME):
        shown = [pair for pair in batch if settings.include_near_identical or not pair.near_identical]
        places = _open_places(project, judge, shown)
        for pair in shown:
            here = [place for place in places if place.pair is pair]
            if here:
                yield from _units(project, judge, pair, here)


def to_label(project: Project, judge: JudgeSettings, unit: Unit) -> Label:
    """The label that a unit's answers make together."""
    place, answers = unit.place, unit.given
    assert len(answers) == len(unit.questions), "a unit without all its answers has no label"
    joint = join(answers)
    return Label.make(
        pair=place.pair.id,
        seen=content_id(place.pair.media_a, place.pair.media_b),
        segment=place.segment,
        segment_seconds=project.settings.segment_seconds,
        choice=joint.choice,
        aspect=place.aspect,
        annotator_kind=KIND,
        annotator=judge.model,
        annotator_version=judge.version,
        order_shown=unit.questions[0].order,
        confidence=joint.confidence,
        milliseconds=sum(answer.milliseconds for answer in answers),
        comment=joint.comment,
    )


def _pairs(project: Project, settings: VlmLabelSettings) -> Iterator[Pair]:
    for number, pair in enumerate(project.pairs(settings.split, settings.pair_mode)):
        if settings.count is not None and number >= settings.count:
            return
        yield pair


def _open_places(project: Project, judge: JudgeSettings, pairs: list[Pair]) -> list[Place]:
    """The places of these pairs that have no label of this judge yet."""
    ids = {_label_id(project, judge, place): place for pair in pairs for place in _places(project, judge, pair)}
    done = known_labels(project, list(ids))
    return [place for id, place in ids.items() if id not in done]


def _places(project: Project, judge: JudgeSettings, pair: Pair) -> Iterator[Place]:
    for aspect in judge.aspects:
        if judge.mode != "whole":
            for each in segment_grid(pair.frames, pair.fps, project.settings.segment_seconds):
                yield Place(pair, each.index, each.first_frame, each.end_frame, aspect)
        if judge.mode != "segments":
            yield Place(pair, None, 0, pair.frames, aspect)


def _label_id(project: Project, judge: JudgeSettings, place: Place) -> str:
    return label_id(
        pair=place.pair.id,
        segment=place.segment,
        segment_seconds=project.settings.segment_seconds,
        aspect=place.aspect,
        annotator_kind=KIND,
        annotator=judge.model,
        annotator_version=judge.version,
        assignment=None,
        supersedes=None,
    )


def _units(project: Project, judge: JudgeSettings, pair: Pair, places: list[Place]) -> Iterator[Unit]:
    a, b = _frames(project, pair, pair.media_a), _frames(project, pair, pair.media_b)
    for place in places:
        yield make_unit(project, judge, place, a, b, pair.prompt, place.aspect)


def make_unit(
    project: Project, judge: JudgeSettings, place: Place, a: Frames, b: Frames, caption: str, aspect: str
) -> Unit:
    """The questions on `aspect` about one place of two videos, `[T, H, W, 3]` each, and the answers that are there."""
    indices = shown_frames(place.first, place.end, len(a), place.pair.fps, judge.fps)
    times = [float(index) / place.pair.fps for index in indices]
    clips = {"ab": (a[indices], b[indices]), "ba": (b[indices], a[indices])}
    questions = tuple(
        Question.make(
            judge,
            aspect=aspect,
            order=order,
            vote=vote,
            caption=caption,
            times=times,
            whole=place.segment is None,
            parts=parts,
        )
        for order, parts in ((order, show(*clips[order], times, judge)) for order in orders(judge, place))
        for vote in range(judge.votes)
    )
    return Unit(place, questions, find_judgements(project, [question.id for question in questions]))


def _frames(project: Project, pair: Pair, digest: str) -> Frames:
    path = project.media_path(digest)
    frames, _ = read_video(path)
    if len(frames) != pair.frames:
        raise UserError(f"{path} has {len(frames)} frames, but pair {pair.id} {pair.frames}; see `densedpo validate`")
    return frames


def _tokens(judge: JudgeSettings, place: Place) -> int:
    """About how many tokens one question about a place asks, by the pair's size alone."""
    pair = place.pair
    count = len(shown_frames(place.first, place.end, pair.frames, pair.fps, judge.fps))
    width, height = shown_size(pair.width, pair.height, judge.max_image_side)
    words = instruction.system(place.aspect) + instruction.question(pair.prompt, judge.layout, [0.0] * count, False)
    return estimated_tokens(len(words) + 2 * count * FRAME_LABEL, 2 * count * width * height, judge)
