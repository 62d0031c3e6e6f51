"""How long and how large clips are. Those of one shape go through a model together; a project may hold several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from densedpo.store.schema import Clip, Pair

Item = TypeVar("Item")


class Shape(NamedTuple):
    """Frames, and width and height in pixels, of a clip or of both videos of a pair."""

    frames: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames"


def shape_of(row: Clip | Pair) -> Shape:
    """The shape of a clip, or of both videos of a pair."""
    return Shape(row.frames, row.width, row.height)


def like_batches(items: Iterable[Item], shape: Callable[[Item], Shape], size: int) -> list[list[Item]]:
    """Batches of at most `size` items of one shape, in the order in which they fill; what is left over comes last.

    Items of one shape alone are cut as `chunks` cuts them.
    """
    filled: list[list[Item]] = []
    open_: defaultdict[Shape, list[Item]] = defaultdict(list)
    for item in items:
        batch = open_[shape(item)]
        batch.append(item)
        if len(batch) == size:
            filled.append(open_.pop(shape(item)))
    return [*filled, *open_.values()]


def contradiction(row: Clip | Pair, fps: float, guide: Clip | None = None) -> str:
    """What a row's shape contradicts: the project's `fps`, its own recipe, the clip `guide` that it was made from.

    Empty if nothing.
    """
    if row.fps != fps:
        return f"has fps {row.fps:g}, but the project has {fps:g}"
    told = row.recipe if isinstance(row, Pair) else {}
    for name in Shape._fields:
        here = getattr(row, name)
        if told.get(name, here) != here:
            return f"has {name} {here}, but its recipe says {told[name]}"
        if guide is not None and getattr(guide, name) != here:
            return f"has {name} {here}, but its clip {guide.id} has {getattr(guide, name)}"
    return ""
