"""When a person's next pair is a check instead of work: a pure function of the seed, the person, and what they had."""

from __future__ import annotations

import bisect
import functools
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from densedpo.store.assignments import Kind

GAP = 5  # pairs between a pair and its repeat, at least
RAREST = 1e-3  # draws below this are noted even where checks are rarer


@dataclass(frozen=True)
class Rates:
    """`gold` and `repeat`: shares of a person's pairs; `practice`: pairs to begin with."""

    gold: float = 0.0
    repeat: float = 0.0
    practice: int = 0
    seed: int = 0


def upcoming(
    rates: Rates, person: str, had: Sequence[Kind], work_left: int, gold_left: int, practice_left: int
) -> Iterator[Kind]:
    """The kinds of all pairs that are ahead of a person who had pairs of the kinds `had`, oldest first.

    Practice comes first, then work with gold pairs and repeats mixed in, until no work is left.
    """
    practised = had.count("qualify")
    past: list[Kind] = [kind for kind in had if kind != "qualify"]
    repeatable = past[: max(0, len(past) - GAP)].count("work") - past.count("repeat")
    while work_left > 0:
        if practised < rates.practice and practice_left > 0:
            practised, practice_left = practised + 1, practice_left - 1
            yield "qualify"
            continue
        kind: Kind = "work"
        draw = _draw(rates.seed, person, len(past))
        if draw < rates.gold and gold_left > 0:
            kind, gold_left = "gold", gold_left - 1
        elif rates.gold <= draw < rates.gold + rates.repeat and repeatable > 0:
            kind, repeatable = "repeat", repeatable - 1
        else:
            work_left -= 1
        past.append(kind)
        repeatable += len(past) > GAP and past[-1 - GAP] == "work"
        yield kind


def count_checks(
    rates: Rates, person: str, had: Sequence[Kind], work_left: int, gold_left: int, practice_left: int
) -> int:
    """How many of `upcoming` are no work, without going through all of the work."""
    practice = max(0, min(rates.practice - had.count("qualify"), practice_left)) if work_left > 0 else 0
    past = [kind for kind in had if kind != "qualify"]
    if not (gold_left and rates.gold) and not rates.repeat:
        return practice
    checks = [place for place, kind in enumerate(past) if kind != "work"]
    repeats, before = past.count("repeat"), len(checks)
    for place, draw in _draws(rates.seed, person, rates.gold + rates.repeat).after(len(past)):
        if place - len(past) - (len(checks) - before) >= work_left:
            break
        if draw < rates.gold:
            if gold_left > 0:
                gold_left -= 1
                checks.append(place)
        elif (
            draw < rates.gold + rates.repeat
            and (old := max(0, place - GAP)) - bisect.bisect_left(checks, old) > repeats
        ):
            repeats += 1
            checks.append(place)
    return practice + len(checks) - before


class _Draws:
    """The places in a person's sequence whose draw is below `limit`, found as far as somebody has asked."""

    def __init__(self, seed: int, person: str, limit: float) -> None:
        self._seed, self._person, self._limit = seed, person, limit
        self._found: list[tuple[int, float]] = []
        self._looked = 0
        self._guard = threading.Lock()

    def after(self, start: int) -> Iterator[tuple[int, float]]:
        """Those from `start` on; it has no end."""
        with self._guard:
            while self._looked < start:
                self._look()
            index = bisect.bisect_left(self._found, (start,))
        while True:
            with self._guard:
                while index == len(self._found):
                    self._look()
            yield self._found[index]
            index += 1

    def _look(self) -> None:
        draw = _draw(self._seed, self._person, self._looked)
        if draw < self._limit:
            self._found.append((self._looked, draw))
        self._looked += 1


@functools.lru_cache(maxsize=1024)
def _draws(seed: int, person: str, limit: float) -> _Draws:
    return _Draws(seed, person, max(limit, RAREST))


def shuffled(ids: Sequence[str], *salt: object) -> list[str]:
    """The ids in an order drawn for `salt`."""
    return sorted(ids, key=lambda id: hashlib.sha256(f"{salt}:{id}".encode()).digest())


def _draw(seed: int, person: str, number: int) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"check:{seed}:{person}:{number}".encode()).digest()[:6]) / 2**48
