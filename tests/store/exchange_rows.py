"""A project full of every kind of label, for the tests of exports and imports."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from store_rows import clip, label, pair

from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair

AWKWARD = 'ä "quoted", comma\nnew line\ttab \\ backslash \u2028 \U0001f600'


def fill(project: Project) -> list[Label]:
    """Two clips, four pairs (one from no clip), labels of every kind; the labels."""
    first, second = clip(0, caption=AWKWARD), clip(1)
    project.add_clips([first, second])
    pairs = [
        pair(0, clip=first.id, prompt=AWKWARD, recipe=pair(0).recipe),
        pair(1, clip=second.id, eta=None, distance=None, latents="f" * 64),
        pair(2, near_identical=True, eta=1 / 3),
        pair(3),
    ]
    project.add_pairs(pairs)
    early = label(pairs[0], 0, "a", confidence=0.1 + 0.2, milliseconds=12, comment=AWKWARD, assignment="x")
    labels = [
        early,
        label(pairs[0], 0, "b", assignment="x", supersedes=early.id),
        label(pairs[0], None, "tie", aspect="motion", order_shown="ba"),
        label(pairs[1], 3, "skip", annotator_kind="vlm", annotator_version="2", comment="[withdrawn]"),
        *(label(pairs[2], segment, "a", annotator="bob") for segment in range(4)),
    ]
    labels = [
        replace(each, created=f"2026-01-0{number + 1}T00:00:00.000000+00:00") for number, each in enumerate(labels)
    ]
    project.add_labels(labels)
    return labels


def rows_of(project: Project) -> tuple[list[Any], list[Any], list[Any]]:
    """All that an export should hold, and more."""
    return list(project.clips()), list(project.pairs()), list(project.labels(superseded=True))


def many_labels(of: Pair, count: int) -> list[Label]:
    return [label(of, number % 4, annotator=f"ann {number}") for number in range(count)]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)
