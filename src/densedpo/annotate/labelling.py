"""From pairs to questions, and from answers to labels.

A page speaks of left and right only; a and b are known here. Answers become labels by way of the store, whose ids make
saving safe: the same answer sent twice is one label, and of two answers to one question that both want to replace the
same label (two tabs, say) the second is refused, not stored beside the first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from densedpo.annotate.media import PlayerMedia
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store import assignments as store
from densedpo.store.assignments import Assignment
from densedpo.store.people import utc_in
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Label, Pair
from densedpo.store.segments import segment_grid
from densedpo.video.player import STRIP, numbered_layout

Choice = Literal["left", "right", "tie", "skip"]
Question = tuple[int | None, str]  # segment (None: the whole video) and aspect

ID = "^[0-9a-f]{32}$"
WITHDRAWN = "[withdrawn]"  # comment of the skip that takes an answer back and puts none in its place
VERSION = "annotate-1"  # annotator_version of labels: what the page shows and asks


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SegmentView(_Strict):
    """Pixel frames `first` up to, not including, `end`."""

    first: int
    end: int


class AnswerView(_Strict):
    """An answer that stands; `id` is what the next answer to its question must replace. No choice: it was withdrawn."""

    id: str
    segment: int | None
    aspect: str
    choice: Choice | None
    comment: str


class Task(_Strict):
    """All that a page needs to show one pair and ask about it. Nothing in it depends on which member is a."""

    id: str
    prompt: str
    fps: float
    frames: int
    width: int
    height: int
    strip: int
    swap: bool
    real: bool
    segments: list[SegmentView]
    questions: list[tuple[int | None, str]]
    answers: list[AnswerView]
    minimum_seconds: float


class Answer(_Strict):
    """What a person says to one question. `replaces` is the id of their answer until now; no choice withdraws it."""

    assignment: str = Field(pattern=ID)
    segment: int | None = Field(ge=0)
    aspect: str = Field(max_length=64)
    choice: Choice | None
    comment: str = Field("", max_length=2000)
    milliseconds: int = Field(ge=0, le=86_400_000)
    replaces: str | None = Field(None, pattern=ID)


class RefusedError(Exception):
    """An answer or a wish that cannot be granted; the message is for the person at the page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Labelling:
    """Gives out pairs and takes answers. Safe to share between threads."""

    def __init__(self, project: Project, settings: AnnotateSettings) -> None:
        self.project, self.settings, self.queue = project, settings, settings.queue
        self.media = PlayerMedia(project, settings.seed)
        self._unplayable: set[str] = set()
        self._guard = threading.Lock()

    def next_task(self, person: str) -> Task | None:
        """The person's open pair, or the next one; None when there is none left for them."""
        assignment = store.resume(self.project, person, self.queue)
        while assignment is None:
            pair = self._candidate(person)
            if pair is None:
                return None
            if seen := self._seen(pair):
                assignment = store.take(self.project, pair.id, person, seen, self.queue)
        return self.task(assignment)

    def prepare(self, person: str) -> None:
        """Render the pair that this person is likely to get next."""
        pair = self._candidate(person)
        if pair is not None:
            self._seen(pair)

    def _candidate(self, person: str) -> Pair | None:
        candidates = store.next_pairs(self.project, person, self.queue, 1 + len(self._unplayable))
        return next((pair for pair in candidates if pair.id not in self._unplayable), None)

    def _seen(self, pair: Pair) -> str | None:
        """The digest of the pair's rendered file; None, and a line in the audit log, if it cannot be rendered."""
        try:
            return self.media.seen(pair)
        except UserError as error:
            with self._guard:
                self._unplayable.add(pair.id)
            self.project.record("annotate-unplayable", pair=pair.id, reason=str(error))
            return None

    def task(self, assignment: Assignment) -> Task:
        """The assignment as its page needs it."""
        pair = self.pair_of(assignment)
        grid = segment_grid(pair.frames, pair.fps, self.project.settings.segment_seconds)
        layout = numbered_layout(pair.width, pair.height)
        return Task(
            id=assignment.id,
            prompt=pair.prompt,
            fps=pair.fps,
            frames=pair.frames,
            width=layout.width,
            height=layout.height,
            strip=STRIP,
            swap=self.media.a_first(pair) != (assignment.order_shown == "ab"),
            real=self.settings.show_real and pair.clip is not None,
            segments=[SegmentView(first=segment.first_frame, end=segment.end_frame) for segment in grid],
            questions=list(self._questions(len(grid))),
            answers=[_view(label, assignment) for label in self._standing(assignment)],
            minimum_seconds=self.settings.minimum_seconds,
        )

    def pair_of(self, assignment: Assignment) -> Pair:
        """The pair that an assignment is about."""
        pair = store.find_pair(self.project, assignment.pair)
        assert pair is not None, "an assignment refers to a pair"
        return pair

    def real_clip(self, assignment: Assignment) -> Clip | None:
        """The real clip behind the pair; None if there is none or the lead does not show it."""
        pair = self.pair_of(assignment)
        if not self.settings.show_real or pair.clip is None:
            return None
        return store.find_clip(self.project, pair.clip)

    def save(self, assignment: Assignment, answer: Answer) -> AnswerView:
        """Store an answer as a label and renew the lease. Raises RefusedError if it does not fit what is stored."""
        question: Question = (answer.segment, answer.aspect)
        pair = self.pair_of(assignment)
        count = len(segment_grid(pair.frames, pair.fps, self.project.settings.segment_seconds))
        if question not in set(self._questions(count)):
            raise RefusedError(422, "this is not asked about this pair")
        if answer.replaces is None and answer.milliseconds < 1000 * self.settings.minimum_seconds:
            raise RefusedError(422, f"look for at least {self.settings.minimum_seconds:g} s before you choose")
        if answer.choice is None and answer.replaces is None:
            raise RefusedError(422, "there is no answer to withdraw")
        mine = {label.id: label for label in self._labels(assignment)}
        replaced = mine.get(answer.replaces or "")
        if answer.replaces and (replaced is None or (replaced.segment, replaced.aspect) != question):
            raise RefusedError(409, "this was changed elsewhere; here is what is stored now")
        label = self._label(assignment, answer)
        known = mine.get(label.id)
        if known is None:
            self._hold(assignment)
            self._add(label)
        elif (known.choice, known.comment) != (label.choice, label.comment):
            raise RefusedError(409, "this was changed elsewhere; here is what is stored now")
        return _view(label, assignment)

    def finish(self, assignment: Assignment) -> None:
        """Close an assignment whose questions are all answered. Raises RefusedError if one is not."""
        answered = {(each.segment, each.aspect) for each in self._standing(assignment) if not _withdrawn(each)}
        if missing := [question for question in self.task(assignment).questions if tuple(question) not in answered]:
            raise RefusedError(409, f"{len(missing)} questions of this pair have no answer yet")
        if assignment.state != "done" and not store.finish(self.project, assignment.id):
            raise RefusedError(410, "this pair is no longer yours: it was left alone for too long")

    def _hold(self, assignment: Assignment) -> None:
        """Renew the lease unless it is nearly new. Raises RefusedError if the pair is not in this person's hands."""
        fresh = assignment.state == "open" and assignment.lease_until > utc_in(0.9 * self.queue.lease_seconds)
        if not fresh and not store.renew(self.project, assignment.id, self.queue):
            raise RefusedError(410, "this pair is no longer yours: it was finished, or left alone for too long")

    def _add(self, label: Label) -> None:
        try:
            self.project.add_labels([label])
        except UserError as error:
            if "is already in" not in str(error):
                raise
            raise RefusedError(409, "this was changed elsewhere; here is what is stored now") from None

    def _questions(self, segments: int) -> Iterator[Question]:
        places: list[int | None] = [] if self.settings.mode == "whole" else list(range(segments))
        places += [] if self.settings.mode == "segments" else [None]
        for place in places:
            yield from ((place, aspect) for aspect in self.settings.aspects)

    def _label(self, assignment: Assignment, answer: Answer) -> Label:
        return Label.make(
            pair=assignment.pair,
            seen=assignment.seen,
            segment=answer.segment,
            segment_seconds=self.project.settings.segment_seconds,
            choice=_member(answer.choice, assignment) if answer.choice else "skip",
            aspect=answer.aspect,
            annotator_kind="human",
            annotator=assignment.person,
            annotator_version=VERSION,
            assignment=assignment.id,
            order_shown=assignment.order_shown,
            milliseconds=answer.milliseconds,
            comment=answer.comment.replace("\0", "").strip() if answer.choice else WITHDRAWN,
            supersedes=answer.replaces,
        )

    def _labels(self, assignment: Assignment) -> Iterator[Label]:
        labels = self.project.labels(assignment.pair, assignment.person, superseded=True)
        return (label for label in labels if label.assignment == assignment.id)

    def _standing(self, assignment: Assignment) -> list[Label]:
        """The labels of an assignment that nothing supersedes, oldest first."""
        labels = list(self._labels(assignment))
        gone = {label.supersedes for label in labels}
        return sorted((label for label in labels if label.id not in gone), key=lambda label: label.created)


def _member(choice: str, assignment: Assignment) -> str:
    """What is stored for a choice: the first letter of `order_shown` was on the left."""
    left, right = assignment.order_shown
    return {"left": left, "right": right}.get(choice, choice)


def _withdrawn(label: Label) -> bool:
    return label.choice == "skip" and label.comment == WITHDRAWN


def _view(label: Label, assignment: Assignment) -> AnswerView:
    left, right = assignment.order_shown
    sides: dict[str, Choice] = {left: "left", right: "right", "tie": "tie", "skip": "skip"}
    withdrawn = _withdrawn(label)
    return AnswerView(
        id=label.id,
        segment=label.segment,
        aspect=label.aspect,
        choice=None if withdrawn else sides[label.choice],
        comment="" if withdrawn else label.comment,
    )
