"""From assignments to questions, and from answers to labels.

A page speaks of left and right only; a and b are known here. Answers become labels by way of the store, whose ids make
saving safe: the same answer sent twice is one label, and of two answers to one question that both want to replace the
same label (two tabs, say) the second is refused, not stored beside the first.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, Sequence

from densedpo.annotate.handing_out import HandingOut
from densedpo.annotate.media import PlayerMedia
from densedpo.annotate.settings import AnnotateSettings
from densedpo.annotate.tasks import (
    Answer,
    AnswerView,
    Choice,
    OpinionView,
    Practice,
    Question,
    RefusedError,
    SegmentView,
    Task,
)
from densedpo.store import assignments as store
from densedpo.store.answers import (
    PAGE,
    WITHDRAWN,
    add_label,
    asked_aspect,
    is_withdrawn,
    labels_in,
    opinions,
    stored_aspect,
)
from densedpo.store.assignments import Assignment
from densedpo.store.gold import gold_pairs
from densedpo.store.people import Person, utc_in
from densedpo.store.project import Project
from densedpo.store.review import disputed_questions, settle
from densedpo.store.schema import Clip, Label, Pair
from densedpo.store.segments import Segment, segment_grid
from densedpo.video.player import STRIP, numbered_layout

CHANGED = "this was changed elsewhere; here is what is stored now"


class Labelling:
    """Gives out pairs and takes answers. Safe to share between threads."""

    def __init__(self, project: Project, settings: AnnotateSettings) -> None:
        self.project, self.settings, self.queue = project, settings, settings.queue
        self.media = PlayerMedia(project, settings.seed)
        self.handing_out = HandingOut(project, settings, self.media)

    def within(self, project: Project) -> Labelling:
        """The same, at work on another connection to its project."""
        twin = copy.copy(self)
        twin.project, twin.handing_out = project, self.handing_out.within(project)
        return twin

    def next_task(self, person: Person, review: bool = False) -> Task | None:
        """The person's open pair, or the next one; None when there is none left for them."""
        assignment = self.handing_out.next(person, review)
        return self.task(assignment) if assignment else None

    def offer_task(self, person: Person) -> Task | Pair | None:
        """As `next_task`, but a pair that cannot be shown yet comes back as it is, to be prepared."""
        found = self.handing_out.offer(person, review=False)
        return self.task(found) if isinstance(found, Assignment) else found

    def task(self, assignment: Assignment) -> Task:
        """The assignment as its page needs it."""
        pair = self.pair_of(assignment)
        grid = self._grid(pair)
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
            questions=self._questions(assignment, grid),
            answers=[_view(label, assignment) for label in self.standing(assignment)],
            minimum_seconds=self._minimum(assignment),
            practice=self._practice(assignment),
            opinions=self._opinions(assignment),
        )

    def pair_of(self, assignment: Assignment) -> Pair:
        """The pair that an assignment is about; pairs never change, so they are kept."""
        return self.handing_out.pair(assignment.pair)

    def real_clip(self, assignment: Assignment) -> Clip | None:
        """The real clip behind the pair; None if there is none or the lead does not show it."""
        pair = self.pair_of(assignment)
        if not self.settings.show_real or pair.clip is None:
            return None
        return store.find_clip(self.project, pair.clip)

    def save(self, assignment: Assignment, answer: Answer) -> AnswerView:
        """Store an answer as a label and renew the lease. Raises RefusedError if it does not fit what is stored."""
        question: Question = (answer.segment, answer.aspect)
        if question not in self._questions(assignment, self._grid(self.pair_of(assignment))):
            raise RefusedError(422, "this is not asked about this pair")
        if answer.choice is None and answer.replaces is None:
            raise RefusedError(422, "there is no answer to withdraw")
        mine = {label.id: label for label in self._labels(assignment)}
        replaced = mine.get(answer.replaces or "")
        if answer.replaces and (replaced is None or question_of(replaced) != question):
            raise RefusedError(409, CHANGED)
        label = self._label(assignment, answer)
        known = mine.get(label.id)
        if known is None:
            self._check_looked(assignment, answer, len({question_of(each) for each in mine.values()}))
            self._hold(assignment)
            known = add_label(self.project, label)
        if known is not None and (known.choice, known.comment) != (label.choice, label.comment):
            raise RefusedError(409, CHANGED)
        return _view(label, assignment)

    def finish(self, assignment: Assignment) -> None:
        """Close an assignment whose questions are all answered. Raises RefusedError if one is not."""
        answered = {question_of(each) for each in self.standing(assignment) if not is_withdrawn(each)}
        asked = self._questions(assignment, self._grid(self.pair_of(assignment)))
        if missing := [question for question in asked if question not in answered]:
            raise RefusedError(409, f"{len(missing)} questions of this pair have no answer yet")
        if assignment.kind == "review" and assignment.state == "open":
            settle(self.project, assignment)
        if assignment.state != "done" and not store.finish(self.project, assignment.id):
            raise RefusedError(410, "this pair is no longer yours: it was left alone for too long")

    def _practice(self, assignment: Assignment) -> Practice | None:
        """Which practice pair this is; None if it is none."""
        if assignment.kind != "qualify":
            return None
        had = [each.id for each in store.history(self.project, assignment.person) if each.kind == "qualify"]
        number = had.index(assignment.id) + 1
        return Practice(number=number, of=max(number, min(self.settings.practice, len(gold_pairs(self.project)))))

    def _opinions(self, assignment: Assignment) -> list[OpinionView]:
        """For a reviewer: what others said at work on this pair, the first to speak as number 1."""
        if assignment.kind != "review":
            return []
        said = opinions(self.project.labels(assignment.pair, superseded=True))
        kept = [each for each in said if each.kind == "work" and not each.aside]
        who = list(dict.fromkeys(each.annotator for each in kept))
        return [
            OpinionView(
                who=who.index(each.annotator) + 1,
                segment=each.segment,
                aspect=each.aspect,
                choice=side_of(each.choice, assignment),
                comment=each.comment,
            )
            for each in kept
        ]

    def _minimum(self, assignment: Assignment) -> float:
        return 0.0 if assignment.kind == "review" else self.settings.minimum_seconds

    def _check_looked(self, assignment: Assignment, answer: Answer, answered: int) -> None:
        """Refuse a first answer that comes too soon: by the page's word, and by the clock here.

        The clock here counts from when the pair was given out, so that answers kept back by a broken line pass.
        """
        minimum = self._minimum(assignment)
        if answer.replaces is not None or not minimum:
            return
        begun = datetime.datetime.fromisoformat(assignment.created)
        here = (datetime.datetime.now(datetime.UTC) - begun).total_seconds()
        if answer.milliseconds < 1000 * minimum or here < (answered + 1) * minimum:
            raise RefusedError(422, f"look for at least {minimum:g} s before you choose")

    def _grid(self, pair: Pair) -> tuple[Segment, ...]:
        return segment_grid(pair.frames, pair.fps, self.project.settings.segment_seconds)

    def _hold(self, assignment: Assignment) -> None:
        """Renew the lease unless it is nearly new. Raises RefusedError if the pair is not in this person's hands."""
        fresh = assignment.state == "open" and assignment.lease_until > utc_in(0.9 * self.queue.lease_seconds)
        if not fresh and not store.renew(self.project, assignment.id, self.queue):
            raise RefusedError(410, "this pair is no longer yours: it was finished, or left alone for too long")

    def _questions(self, assignment: Assignment, grid: Sequence[Segment]) -> list[Question]:
        """What is asked; of a reviewer, what the others answered differently."""
        places: list[int | None] = [] if self.settings.mode == "whole" else list(range(len(grid)))
        places += [] if self.settings.mode == "segments" else [None]
        asked: list[Question] = [(place, aspect) for place in places for aspect in self.settings.aspects]
        if assignment.kind != "review":
            return asked
        disputed = disputed_questions(self.project, assignment.pair)
        disputed += [question_of(label) for label in self.standing(assignment)]  # after the decision none is disputed
        return sorted(set(disputed), key=lambda each: (each[0] is None, each[0] or 0, each[1]))

    def _label(self, assignment: Assignment, answer: Answer) -> Label:
        return Label.make(
            pair=assignment.pair,
            seen=assignment.seen,
            segment=answer.segment,
            segment_seconds=self.project.settings.segment_seconds,
            choice=_member(answer.choice, assignment) if answer.choice else "skip",
            aspect=stored_aspect(assignment.kind, answer.aspect),
            annotator_kind="human",
            annotator=assignment.person,
            annotator_version=PAGE,
            assignment=assignment.id,
            order_shown=assignment.order_shown,
            milliseconds=answer.milliseconds,
            comment=answer.comment.replace("\0", "").strip() if answer.choice else WITHDRAWN,
            supersedes=answer.replaces,
        )

    def _labels(self, assignment: Assignment) -> Iterator[Label]:
        given = labels_in(self.project, assignment.pair, assignment.id)
        return (label for label in given if asked_aspect(label.aspect)[0] == assignment.kind)  # no decisions

    def standing(self, assignment: Assignment) -> list[Label]:
        """The labels of an assignment that nothing supersedes, oldest first."""
        labels = list(self._labels(assignment))
        gone = {label.supersedes for label in labels}
        return sorted((label for label in labels if label.id not in gone), key=lambda label: label.created)


def _member(choice: str, assignment: Assignment) -> str:
    """What is stored for a choice: the first letter of `order_shown` was on the left."""
    left, right = assignment.order_shown
    return {"left": left, "right": right}.get(choice, choice)


def side_of(member: str, assignment: Assignment) -> Choice:
    """What the person at the page calls a stored choice."""
    left, right = assignment.order_shown
    sides: dict[str, Choice] = {left: "left", right: "right", "tie": "tie", "skip": "skip"}
    return sides[member]


def question_of(label: Label) -> Question:
    """What a label answers."""
    return label.segment, asked_aspect(label.aspect)[1]


def _view(label: Label, assignment: Assignment) -> AnswerView:
    withdrawn = is_withdrawn(label)
    return AnswerView(
        id=label.id,
        segment=label.segment,
        aspect=asked_aspect(label.aspect)[1],
        choice=None if withdrawn else side_of(label.choice, assignment),
        comment="" if withdrawn else label.comment,
    )
