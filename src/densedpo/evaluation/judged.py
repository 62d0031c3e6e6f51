"""Who beats whom by the word of people and machines: labels on pairs of two contestants' videos become contests.

Such pairs lie in the arenas of an evaluation, small projects in `runs/RUN/arena/`, where any labeller labels them. The
recipe of each names its contestants, prompt and seed, and the SHA-256 of both videos, all that is read of them here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.chunks import batched
from densedpo.errors import UserError
from densedpo.evaluation.head_to_head import contest
from densedpo.evaluation.results import FORMAT, write_results
from densedpo.files import file_digest
from densedpo.store.answers import asked_aspect
from densedpo.store.consensus import ConsensusPolicy, global_consensus
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import Label, Pair

Row = Mapping[str, Any]  # a line of scores.jsonl
Contests = dict[str, dict[str, dict[str, Any]]]  # kind of annotator -> aspect -> contest


@dataclass
class _Court:
    """The opinions of one kind of annotator on one aspect: +1 for the first of the two, -1 for the second, 0 a tie."""

    signs: dict[tuple[str, str], dict[str, list[int]]] = field(default_factory=dict)  # of two, by prompt, by seed
    voters: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    outdated: int = 0

    def verdict(self, contestants: Sequence[str]) -> dict[str, Any]:
        """The contest of those who met (`head_to_head.py` has its form)."""
        met = [name for name in contestants if any(name in two for two in self.signs)]
        leads = {
            two: {prompt: float(np.mean(signs)) for prompt, signs in self.signs[two].items()}
            for two in sorted(self.signs, key=lambda two: [met.index(name) for name in two])
        }
        videos = sum(len(signs) for of in self.signs.values() for signs in of.values())
        models = sorted(name for kind, name in self.voters if kind != "human")
        counts = {"annotators": len(self.voters), "models": models, "videos": videos, "outdated": self.outdated}
        return {**contest(met, leads), **counts}


def judged(folder: Path, rows: Sequence[Row], contestants: Sequence[str]) -> Contests:
    """The contests by each kind of annotator and aspect, from the labels in all arenas of the evaluation in `folder`.

    All labels of one kind on a pair are one opinion, that of their majority; skips have none. Of a prompt's seeds the
    mean counts. Labels on videos that were made anew since only count as `outdated`.
    """
    takes = {(row["contestant"], row["prompt_index"], row["seed"]): folder / row["video"] for row in rows}
    digest = cache(file_digest)

    def current(recipe: Mapping[str, Any]) -> bool:
        names = recipe["contestant_a"], recipe["contestant_b"]
        files = [takes.get((name, recipe["prompt_index"], recipe["seed"])) for name in names]
        return bool([digest(file) if file and file.exists() else None for file in files] == recipe["media"])

    courts: dict[tuple[str, str], _Court] = defaultdict(_Court)
    for settings in sorted((folder / "arena").glob("*/project.yaml")):
        arena = Project.open(settings.parent)
        for pairs in batched(arena.pairs(), BATCH):
            labels = arena.labels_of([pair.id for pair in pairs])
            for pair in pairs:
                _hear(courts, pair, labels[pair.id], current, contestants)
    found: Contests = {}
    for (kind, aspect), court in sorted(courts.items()):
        found.setdefault(kind, {})[aspect] = court.verdict(contestants)
    return found


def results_of(project: Project, name: str) -> dict[str, Any]:
    """What the evaluation of that name has found. Raises UserError if it has not, or not with this version."""
    file = project.root / "runs" / name / "results.json"
    if not file.exists():
        raise UserError(f"{file} is missing; run `densedpo evaluate` first, or give the --name that it has")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if found["format"] != FORMAT:
        raise UserError(f"{file} was written by another version of densedpo; run `densedpo evaluate` again")
    return found


def take_in_judgements(project: Project, name: str) -> Contests:
    """Count the labels in the evaluation's arenas and write the contests to its results.json. Raises as `results_of`.

    A project lock keeps an evaluation of that name from writing at the same time.
    """
    with project.lock(f"evaluate-{name}"):
        results = results_of(project, name)
        folder = project.root / "runs" / name
        lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()
        found = judged(folder, [json.loads(line) for line in lines], results["contestants"])
        scorers = {kind: of for kind, of in results["head_to_head"].items() if kind == "scorers"}
        write_results(folder / "results.json", {**results, "head_to_head": {**scorers, **found}})
        return {kind: of for kind, of in results_of(project, name)["head_to_head"].items() if kind != "scorers"}


def _hear(
    courts: dict[tuple[str, str], _Court],
    pair: Pair,
    labels: Sequence[Label],
    current: Callable[[Mapping[str, Any]], bool],
    contestants: Sequence[str],
) -> None:
    """Enter what each kind of annotator says of one pair, if it is of `current` videos."""
    # The only segment of an arena's pairs is the whole video, whichever of the two a label calls it.
    votes = [replace(label, segment=None) for label in labels if asked_aspect(label.aspect)[0] == "work"]
    for kind, aspect in sorted({(label.annotator_kind, label.aspect) for label in votes}):
        mine = [label for label in votes if (label.annotator_kind, label.aspect) == (kind, aspect)]
        opinion = global_consensus(mine, ConsensusPolicy(aspect=aspect))
        if opinion is None:
            continue
        court, sign = courts[kind, aspect], opinion[0]
        if not current(pair.recipe):
            court.outdated += 1
            continue
        two = pair.recipe["contestant_a"], pair.recipe["contestant_b"]
        if contestants.index(two[0]) > contestants.index(two[1]):
            two, sign = two[::-1], -sign
        court.signs.setdefault(two, {}).setdefault(pair.recipe["prompt"], []).append(sign)
        court.voters |= {(kind, label.annotator) for label in mine if label.choice != "skip"}
