"""Who gets which pair next: work, the checks mixed into it, and a reviewer's disputes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from densedpo.annotate.media import PlayerMedia
from densedpo.annotate.schedule import GAP, Rates, shuffled, upcoming
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store import assignments as store
from densedpo.store.assignments import Assignment, Kind, Order
from densedpo.store.gold import gold_pairs
from densedpo.store.people import Person
from densedpo.store.project import Project
from densedpo.store.review import disputed_pairs
from densedpo.store.schema import Pair


@dataclass(frozen=True)
class Candidate:
    """A pair that a person could get now, and in which order its members would be shown (None: as its slot says)."""

    pair: Pair
    kind: Kind
    order: Order | None = None


class HandingOut:
    """Finds the next pair for a person and gives it to them. Safe to share between threads."""

    def __init__(self, project: Project, settings: AnnotateSettings, media: PlayerMedia) -> None:
        self._project, self._settings, self._media = project, settings, media
        self._queue = settings.queue
        self._unplayable: set[str] = set()
        self._guard = threading.Lock()
        self._turn = threading.Lock()

    def next(self, person: Person, review: bool) -> Assignment | None:
        """The pair that the person has begun, or the next one; None when there is none left for them."""
        assignment = store.resume(self._project, person.id, self._queue, review)
        while assignment is None:
            with self._turn:  # of many who ask at once all would choose the same pair, and most of them in vain
                candidate = self._candidate(person, review)
                if candidate is None:
                    return None
                pair, kind, order = candidate.pair, candidate.kind, candidate.order
                if ready := self._media.ready(pair):
                    seen = self._media.seen(pair)
                    assignment = store.take(self._project, pair.id, person.id, seen, self._queue, kind, order)
            if not ready:
                self._playable(person, review)  # renders it, while others have their turn
        return assignment

    def ahead(self, person: Person, review: bool) -> tuple[str, Pair] | None:
        """The assignment that this person is likely to get after the present one, and its pair, rendered."""
        chosen = self._playable(person, review)
        if chosen is None:
            return None
        pair = chosen[0].pair
        return store.assignment_id(person.id, pair.id, chosen[0].kind), pair

    def checks_ahead(self, person: Person, work_left: int) -> int:
        """How many checks will be mixed into the work that is left for the person."""
        return sum(kind != "work" for kind in self._upcoming(person, self._history(person), work_left))

    def practice(self, person: Person) -> list[Assignment]:
        """The practice pairs that a person had, oldest first."""
        return [each for each in self._history(person) if each.kind == "qualify"]

    def _playable(self, person: Person, review: bool) -> tuple[Candidate, str] | None:
        """A candidate and the digest of its file. What cannot be rendered is passed over; the audit log says so."""
        while candidate := self._candidate(person, review):
            try:
                return candidate, self._media.seen(candidate.pair)
            except UserError as error:
                with self._guard:
                    self._unplayable.add(candidate.pair.id)
                self._project.record("annotate-unplayable", pair=candidate.pair.id, reason=str(error))
        return None

    def _candidate(self, person: Person, review: bool) -> Candidate | None:
        if review:
            found = disputed_pairs(self._project, self._queue, person.id, 1 + len(self._unplayable))
            return next((Candidate(pair, "review") for pair in found if pair.id not in self._unplayable), None)
        work = store.next_pairs(self._project, person.id, self._queue, 1 + len(self._unplayable))
        first = next((pair for pair in work if pair.id not in self._unplayable), None)
        if first is None:
            return None
        had = self._history(person)
        kind = next(self._upcoming(person, had, 1))
        if kind == "work":
            return Candidate(first, "work")
        return self._repeat(person, had) if kind == "repeat" else self._gold(person, had, kind)

    def _upcoming(self, person: Person, had: list[Assignment], work_left: int) -> Iterator[Kind]:
        gold, practice = self._gold_left(person, had, "gold"), self._gold_left(person, had, "qualify")
        return upcoming(
            self._rates(person), person.id, [each.kind for each in had], work_left, len(gold), len(practice)
        )

    def _rates(self, person: Person) -> Rates:
        settings = self._settings
        if person.role != "annotator":
            return Rates()
        return Rates(settings.gold_rate, settings.repeat_rate, settings.practice, settings.seed)

    def _history(self, person: Person) -> list[Assignment]:
        return store.history(self._project, person.id) if person.role == "annotator" else []

    def _gold_left(self, person: Person, had: list[Assignment], kind: Kind) -> list[str]:
        """Gold pairs that the person never had: the first few are for practice, the others stay hidden among work."""
        if person.role != "annotator":
            return []
        pairs = shuffled(gold_pairs(self._project), self._settings.seed, "practice")
        split = self._settings.practice
        chosen = pairs[:split] if kind == "qualify" else shuffled(pairs[split:], self._settings.seed, person.id)
        known = {each.pair for each in had} | self._unplayable
        return [id for id in chosen if id not in known]

    def _gold(self, person: Person, had: list[Assignment], kind: Kind) -> Candidate:
        pair = store.find_pair(self._project, self._gold_left(person, had, kind)[0])
        assert pair is not None, "an answer is known for a pair"
        return Candidate(pair, kind, store.order_shown(self._settings.seed, f"{pair.id}:{person.id}", 0))

    def _repeat(self, person: Person, had: list[Assignment]) -> Candidate:
        """A pair of theirs from some time ago, the other way round."""
        past = [each for each in had if each.kind != "qualify"]
        repeated = {each.pair for each in past if each.kind == "repeat"}
        old = {each.pair: each for each in past[: len(past) - GAP] if each.kind == "work" and each.pair not in repeated}
        before = old[shuffled(list(old), self._settings.seed, person.id)[0]]
        pair = store.find_pair(self._project, before.pair)
        assert pair is not None, "an assignment refers to a pair"
        return Candidate(pair, "repeat", "ba" if before.order_shown == "ab" else "ab")
