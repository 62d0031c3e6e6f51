"""How many clips or pairs there are of each shape, for people and for --json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from densedpo.cli.command import console
from densedpo.store.shapes import Shape


def tell_shapes(project: Path, counts: Mapping[Shape, int], what: str) -> None:
    """A line a shape, the most frequent first."""
    for shape, count in _most_first(counts):
        console.print(f"{project}: {count} {what} of {shape}", markup=False)


def listed_shapes(counts: Mapping[Shape, int]) -> list[dict[str, Any]]:
    """The same as data."""
    return [shape._asdict() | {"count": count} for shape, count in _most_first(counts)]


def _most_first(counts: Mapping[Shape, int]) -> list[tuple[Shape, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
