"""The practice round: after each pair somebody sees which answers are right; too many wrong ones stop them."""

from __future__ import annotations

from densedpo.annotate.labelling import Labelling, question_of, side_of
from densedpo.annotate.tasks import Compared, Feedback
from densedpo.store.answers import is_withdrawn
from densedpo.store.assignments import Assignment
from densedpo.store.gold import gold_of
from densedpo.store.people import Person, set_state


def handed_in(labelling: Labelling, assignment: Assignment, person: Person) -> Feedback:
    """How a practice pair went. After the last, a person who answered too little right is paused: the lead decides."""
    place = labelling.task(assignment).practice
    assert place is not None, "only practice pairs have feedback"
    lines = [line for each in labelling.handing_out.practice(person) for line in compare(labelling, each)]
    right, last = sum(line.given == line.right for line in lines), place.number == place.of
    paused = last and right < labelling.settings.practice_share * len(lines)
    if paused and assignment.state == "open":  # not when a lead has let them go on, and the page asks again
        set_state(labelling.project, person.id, "paused")
    return Feedback(compared=compare(labelling, assignment), right=right, asked=len(lines), last=last, paused=paused)


def compare(labelling: Labelling, assignment: Assignment) -> list[Compared]:
    """The answers to a pair beside the right ones, where these are known."""
    right = {(row.segment, row.aspect): row.choice for row in gold_of(labelling.project, assignment.pair)}
    given = {question_of(label): label for label in labelling.standing(assignment) if not is_withdrawn(label)}
    return [
        Compared(
            segment=segment,
            aspect=aspect,
            given=side_of(given[segment, aspect].choice, assignment),
            right=side_of(right[segment, aspect], assignment),
        )
        for segment, aspect in sorted(given, key=lambda each: (each[0] is None, each[0] or 0, each[1]))
        if (segment, aspect) in right
    ]
