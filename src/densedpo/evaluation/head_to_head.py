"""Who beats whom, by scorers, by people, by machine judges: `head_to_head` of results.json, one contest per judge.

    {"scorers": {METRIC: contest}, "human": {ASPECT: contest}, "vlm": {ASPECT: contest}, ...}

The first level is the kind of judge: `scorers` are the metrics that have a better direction; the others are kinds of
annotators (human, vlm, reward, oracle), each there only if it has labelled videos of this evaluation. A contest is

    {"pairs": {"A against B": {"wins", "ties", "losses", "win_share", "lose_share", "p"}, ...},
     "strengths": {CONTESTANT: interval, ...},
     "annotators": 2, "models": ["o3-2025-04-16"], "videos": 24, "outdated": 0}

where wins, ties and losses count prompts from the side of A, and an interval is {"mean", "low", "high", "n"}, its n
counting prompts. `strengths` is empty where not everybody has met everybody else, directly or by way of others. The
last line is of annotators only: how many they are, the names of those that are machines, how many pairs of videos they
have an opinion on, and how many they judged that do not count because a video has been made anew since.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from densedpo.metrics.protocol import Better
from densedpo.stats.outcomes import bradley_terry, win_tie_lose

Row = Mapping[str, Any]  # a line of scores.jsonl
Leads = Mapping[tuple[str, str], Mapping[str, float]]  # (one, two) -> prompt -> by how much one is better than two


def head_to_head(
    rows: Sequence[Row], metric: str, contestants: Sequence[str], better: Better, tie_band: float = 0.0
) -> dict[str, Any]:
    """The contest of all by one metric, on every prompt that two of them have.

    A contestant wins a prompt if its mean over seeds is better by more than `tie_band`. Raises ValueError for a metric
    without a direction.
    """
    if better == "neither":
        raise ValueError(f"{metric} has no better direction, so nobody can win by it")
    sign = -1.0 if better == "lower" else 1.0
    means = {name: by_prompt(rows, name, metric) for name in contestants}
    leads = {
        (one, two): {p: sign * (means[one][p] - means[two][p]) for p in means[one] if p in means[two]}
        for one, two in itertools.combinations(contestants, 2)
    }
    return contest(contestants, leads, tie_band)


def contest(contestants: Sequence[str], leads: Leads, tie_band: float = 0.0) -> dict[str, Any]:
    """Outcomes of every two contestants in `leads`, and Bradley-Terry strengths of all.

    The unit is the prompt: a lead beyond `tie_band` is one prompt won. A prompt on which two were not compared is no
    game between them. Strengths are left out if some cannot be compared, not even by way of others.
    """
    pairs = {f"{one} against {two}": asdict(win_tie_lose([*of.values()], tie_band)) for (one, two), of in leads.items()}
    place = {name: number for number, name in enumerate(contestants)}
    prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(itertools.chain(*leads.values())))}
    wins_NKK = np.zeros((len(prompts), len(place), len(place)))
    for (one, two), of in leads.items():
        for prompt, lead in of.items():
            won = 1.0 if lead > tie_band else 0.0 if lead < -tie_band else 0.5
            wins_NKK[prompts[prompt], place[one], place[two]] = won
            wins_NKK[prompts[prompt], place[two], place[one]] = 1 - won
    if not prompts or connected_components(wins_NKK.sum(axis=0), directed=False)[0] > 1:
        return {"pairs": pairs, "strengths": {}}
    strengths = zip(contestants, bradley_terry(wins_NKK), strict=True)
    return {"pairs": pairs, "strengths": {name: asdict(strength) for name, strength in strengths}}


def by_prompt(rows: Sequence[Row], contestant: str, metric: str) -> dict[str, float]:
    """Prompt → mean over seeds of one contestant's scores, prompts in file order."""
    gathered: dict[str, list[float]] = {}
    for row in rows:
        if row["contestant"] == contestant and metric in row["scores"]:
            gathered.setdefault(row["prompt"], []).append(row["scores"][metric])
    return {prompt: float(np.mean(values)) for prompt, values in gathered.items()}
