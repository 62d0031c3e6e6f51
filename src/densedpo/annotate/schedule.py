"""When a person's next pair is a check instead of work: a pure function of the seed, the person, and what they had."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from densedpo.store.assignments import Kind

GAP = 5  # pairs between a pair and its repeat, at least


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


def shuffled(ids: Sequence[str], *salt: object) -> list[str]:
    """The ids in an order drawn for `salt`."""
    return sorted(ids, key=lambda id: hashlib.sha256(f"{salt}:{id}".encode()).digest())


def _draw(seed: int, person: str, number: int) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"check:{seed}:{person}:{number}".encode()).digest()[:6]) / 2**48
