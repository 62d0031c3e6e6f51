"""Who gets which pair next: work, the checks mixed into it, and a reviewer's disputes."""

from __future__ import annotations

import copy
import functools
import threading
from dataclasses import dataclass

from densedpo.annotate.media import PlayerMedia
from densedpo.annotate.schedule import GAP, Rates, count_checks, shuffled, upcoming
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store import assignments as store
from densedpo.store.assignments import Assignment, Kind, Order, Past
from densedpo.store.gold import gold_pairs
from densedpo.store.people import Person
from densedpo.store.places import Places
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
        self._places = Places(self._queue)
        self._unplayable: set[str] = set()
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self.pair = functools.lru_cache(maxsize=4096)(functools.partial(_known_pair, project))

    def within(self, project: Project) -> HandingOut:
        """The same, at work on another connection to its project."""
        twin = copy.copy(self)
        twin._project = project
        return twin

    def next(self, person: Person, review: bool) -> Assignment | None:
        """The pair that the person has begun, or the next one, rendered; None when there is none left for them."""
        while True:
            with self._turn:  # of many who ask at once all would choose the same pair, and most of them in vain
                found = self.offer(person, review)
            if not isinstance(found, Pair):
                return found
            self.prepare(found)  # while others have their turn

    def offer(self, person: Person, review: bool) -> Assignment | Pair | None:
        """As `next`, but a pair that cannot be shown yet comes back as it is: `prepare` it, then ask again."""
        assignment = store.resume(self._project, person.id, self._queue, review)
        while assignment is None:
            candidate = self._candidate(person, review)
            if candidate is None:
                return None
            id, kind = candidate.pair.id, candidate.kind
            seen = self._media.known(candidate.pair)
            if seen is None:
                return candidate.pair
            assignment = store.take(self._project, id, person.id, seen, self._queue, kind, candidate.order)
            if kind == "work" and assignment is None:
                self._places.refresh(self._project)  # somebody was quicker
            elif kind == "work":
                self._places.give(id)
        return assignment

    def prepare(self, pair: Pair) -> None:
        """Render a pair's file. What cannot be rendered is passed over from now on; the audit log says so."""
        try:
            self._media.seen(pair)
        except UserError as error:
            with self._guard:
                self._unplayable.add(pair.id)
            self._project.record("annotate-unplayable", pair=pair.id, reason=str(error))

    def ready(self, pair: Pair) -> bool:
        """Whether the pair's file is there and known."""
        return self._media.known(pair) is not None

    @property
    def stale(self) -> bool:
        """Whether it is time to `refresh`."""
        return self._places.stale

    def refresh(self) -> None:
        """Take notice of new pairs, of leases that ran out, and of what other servers gave out."""
        if self._places.stale:
            self._places.refresh(self._project)

    def practice(self, person: Person) -> list[Assignment]:
        """The practice pairs that a person had, oldest first."""
        return [each for each in store.history(self._project, person.id) if each.kind == "qualify"]

    def ahead(self, person: Person, review: bool) -> tuple[str, Pair] | None:
        """The assignment that this person is likely to get next, and its pair, which may have to be rendered."""
        found = self._candidate(person, review)
        return (store.assignment_id(person.id, found.pair.id, found.kind), found.pair) if found else None

    def _candidate(self, person: Person, review: bool) -> Candidate | None:
        if review:
            found = disputed_pairs(self._project, self._queue, person.id, 1 + len(self._unplayable))
            return next((Candidate(pair, "review") for pair in found if pair.id not in self._unplayable), None)
        past = store.past(self._project, person.id)
        first = self._first({each.pair for each in past} | self._unplayable)
        if first is None:
            return None
        had = self._sequence(person, past)
        gold, practice = self._gold_left(person, past)
        kinds = [each.kind for each in had]
        kind = next(upcoming(self._rates(person), person.id, kinds, 1, len(gold), len(practice)))
        if kind == "repeat":
            return self._repeat(person, had)
        if kind == "work":
            return Candidate(self.pair(first), "work")
        id = (practice if kind == "qualify" else gold)[0]
        return Candidate(self.pair(id), kind, store.order_shown(self._settings.seed, f"{id}:{person.id}", 0))

    def _first(self, had: set[str]) -> str | None:
        """The next pair of work; that there is none is never said by what was read a while ago."""
        found = self._places.next(had)
        if found is None:
            self._places.refresh(self._project)
            found = self._places.next(had)
        return found

    def left(self, person: Person) -> tuple[int, int]:
        """How many pairs of work the person can still get, and how many checks will be mixed into them."""
        past = store.past(self._project, person.id)
        work = self._places.count({each.pair for each in past}, self._project)
        kinds = [each.kind for each in self._sequence(person, past)]
        gold, practice = self._gold_left(person, past)
        return work, count_checks(self._rates(person), person.id, kinds, work, len(gold), len(practice))

    def _sequence(self, person: Person, past: list[Past]) -> list[Past]:
        """What a person was given and did not lose, without reviews; nobody but annotators is tested."""
        if person.role != "annotator":
            return []
        return [each for each in past if each.kind != "review" and each.state != "lapsed"]

    def _rates(self, person: Person) -> Rates:
        settings = self._settings
        if person.role != "annotator":
            return Rates()
        return Rates(settings.gold_rate, settings.repeat_rate, settings.practice, settings.seed)

    def _gold_left(self, person: Person, past: list[Past]) -> tuple[list[str], list[str]]:
        """Gold pairs that the person never had: those hidden among work, and the first few, which are for practice."""
        known = gold_pairs(self._project) if person.role == "annotator" else []
        if not known:
            return [], []
        seed, split = self._settings.seed, self._settings.practice
        pairs = _shuffled(tuple(known), seed, "practice")
        gone = {each.pair for each in self._sequence(person, past)} | self._unplayable
        hidden = _shuffled(pairs[split:], seed, person.id)
        return [id for id in hidden if id not in gone], [id for id in pairs[:split] if id not in gone]

    def _repeat(self, person: Person, had: list[Past]) -> Candidate:
        """A pair of theirs from some time ago, the other way round."""
        past = [each for each in had if each.kind != "qualify"]
        repeated = {each.pair for each in past if each.kind == "repeat"}
        old = {each.pair: each for each in past[: len(past) - GAP] if each.kind == "work" and each.pair not in repeated}
        before = old[shuffled(list(old), self._settings.seed, person.id)[0]]
        return Candidate(self.pair(before.pair), "repeat", "ba" if before.order_shown == "ab" else "ab")


@functools.lru_cache(maxsize=1024)
def _shuffled(ids: tuple[str, ...], *salt: object) -> tuple[str, ...]:
    return tuple(shuffled(ids, *salt))


def _known_pair(project: Project, id: str) -> Pair:
    pair = store.find_pair(project, id)
    assert pair is not None, "an assignment, or an answer that is known, is about a pair"
    return pair
