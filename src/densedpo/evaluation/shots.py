"""What an evaluation is made of: shots, shares of them, and how their files are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from densedpo.errors import UserError

BASE = "base"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shot:
    """One video that every contestant makes: `seed` counts from 0 for each prompt."""

    prompt: str
    prompt_index: int
    seed: int

    @property
    def stem(self) -> str:
        """The name of its files, without their kind."""
        return f"{self.prompt_index:04d}-{self.seed}"


def share_of(items: Sequence[Item], shard: str | None) -> list[Item]:
    """The part `k/n` of the items, every n-th from the k-th on; all without a shard.

    Raises UserError if k exceeds n.
    """
    if shard is None:
        return list(items)
    part, parts = map(int, shard.split("/"))
    if part > parts:
        raise UserError(f"shard is {shard}, but parts count from 1 to {parts}; give for example {parts}/{parts}")
    return list(items[part - 1 :: parts])


def named_places(given: Sequence[str], flag: str) -> dict[str, Path]:
    """`NAME=PATH`, several times, as name → path. Raises UserError as `named`."""
    return {name: Path(place) for name, place in named(given, flag).items()}


def named(given: Sequence[str], flag: str) -> dict[str, str]:
    """`NAME=PLACE`, several times, as name → place.

    Raises UserError for another form, a name that cannot be a folder's, or a name given twice.
    """
    places: dict[str, str] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not place or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UserError(f"{flag} {text}: expected NAME=PLACE, with letters, digits, dots and dashes in the name")
        if name in places:
            raise UserError(f"{flag} names {name} twice; give each another name")
        places[name] = place
    return places
