"""Who beats whom, from scores alone: every two contestants on every prompt that both have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from densedpo.metrics.protocol import Better
from densedpo.stats.outcomes import bradley_terry, win_tie_lose

Row = Mapping[str, Any]  # a line of scores.jsonl


def head_to_head(
    rows: Sequence[Row], metric: str, contestants: Sequence[str], better: Better, tie_band: float = 0.0
) -> dict[str, Any]:
    """Win, tie and lose of every two contestants by one metric, and Bradley-Terry strengths of all.

    A contestant wins a prompt if its mean over seeds is better by more than `tie_band`. The games are over prompts that
    all contestants have; without any, strengths are left out. Raises ValueError for a metric without a direction.
    """
    if better == "neither":
        raise ValueError(f"{metric} has no better direction, so nobody can win by it")
    sign = -1.0 if better == "lower" else 1.0
    means = {name: by_prompt(rows, name, metric) for name in contestants}
    pairs = {}
    for one, two in itertools.combinations(contestants, 2):
        shared = [prompt for prompt in means[one] if prompt in means[two]]
        found = win_tie_lose([sign * (means[one][prompt] - means[two][prompt]) for prompt in shared], tie_band)
        pairs[f"{one} against {two}"] = asdict(found)
    common = [prompt for prompt in means[contestants[0]] if all(prompt in each for each in means.values())]
    if not common:
        return {"pairs": pairs, "strengths": {}}
    values = sign * np.array([[means[name][prompt] for name in contestants] for prompt in common])
    difference = values[:, :, None] - values[:, None, :]
    wins = np.where(difference > tie_band, 1.0, np.where(difference < -tie_band, 0.0, 0.5))
    strengths = bradley_terry(wins)
    return {"pairs": pairs, "strengths": {n: asdict(s) for n, s in zip(contestants, strengths, strict=True)}}


def by_prompt(rows: Sequence[Row], contestant: str, metric: str) -> dict[str, float]:
    """Prompt → mean over seeds of one contestant's scores, prompts in file order."""
    gathered: dict[str, list[float]] = {}
    for row in rows:
        if row["contestant"] == contestant and metric in row["scores"]:
            gathered.setdefault(row["prompt"], []).append(row["scores"][metric])
    return {prompt: float(np.mean(values)) for prompt, values in gathered.items()}
