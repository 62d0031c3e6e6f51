"""Cut items into batches."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Consecutive parts of `size` items; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The same of items that come one by one, holding one part at a time."""
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part
