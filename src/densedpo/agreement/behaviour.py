"""How labellers behave, whatever the truth: which side they lean to, whether they repeat themselves, what they cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from densedpo.agreement.opinions import Opinions
from densedpo.stats.agreement import position_bias
from densedpo.stats.intervals import proportion_interval
from densedpo.store.judgements import Judgement, judgements
from densedpo.store.project import Project


def people_figures(opinions: Opinions) -> list[dict[str, Any]]:
    """For each person: position bias, and how often a second label on the same segment repeats the first."""
    rows = []
    for voice in opinions.voices:
        if voice.kind == "human":
            said = opinions.said[voice]
            rows.append(
                {
                    "shown": opinions.shown(voice),
                    "position": _position((each.choice, each.order_shown) for each in said),
                    "repeats": _share([x == y for x, y in opinions.repeats[voice]]),
                }
            )
    return rows


def judge_figures(project: Project, opinions: Opinions) -> list[dict[str, Any]]:
    """For each judge that answered in its own words, from its raw answers, before both orders became one label."""
    answers: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for answer in judgements(project):
        if answer.pair in opinions.pairs:
            answers[answer.judge, answer.judge_version].append(answer)
    return [_judge(name, version, given) for (name, version), given in sorted(answers.items())]


def _judge(name: str, version: str, given: Sequence[Judgement]) -> dict[str, Any]:
    opinions = [answer for answer in given if answer.choice != "skip"]
    asked: dict[tuple[Any, ...], dict[tuple[str, int], str]] = defaultdict(dict)
    for answer in opinions:
        asked[answer.pair, answer.segment, answer.aspect][answer.order_shown, answer.vote] = answer.choice
    flips = [
        choices["ab", vote] != choices["ba", vote]
        for choices in asked.values()
        for order, vote in choices
        if order == "ab" and ("ba", vote) in choices
    ]
    repeats = [
        choices[order, vote] == choices[order, 0]
        for choices in asked.values()
        for order, vote in choices
        if vote > 0 and (order, 0) in choices
    ]
    return {
        "shown": f"{name} {version[:6]}",
        "answers": len(given),
        "abstained": len(given) - len(opinions),
        "position": _position((answer.choice, answer.order_shown) for answer in opinions),
        "flips": _share(flips),
        "repeats": _share(repeats),
        "tokens_in": _mean([answer.tokens_in for answer in given]),
        "tokens_out": _mean([answer.tokens_out for answer in given]),
        "seconds": _median([answer.milliseconds / 1000 for answer in given]),
    }


def costs(opinions: Opinions) -> list[dict[str, Any]]:
    """Seconds that a label took, where they were measured."""
    rows = []
    for voice in opinions.voices:
        seconds = [each.milliseconds / 1000 for each in opinions.said[voice] if each.milliseconds]
        if seconds:
            median = _median(seconds)
            hourly = round(3600 / median) if median else None
            rows.append({"shown": opinions.shown(voice), "n": len(seconds), "seconds": median, "per_hour": hourly})
    return rows


def _position(given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """How often the side shown first was chosen, of (choice, order shown)."""
    first = [(choice == "a") == (order == "ab") for choice, order in given if choice in ("a", "b")]
    share, low, high = position_bias(sum(first), len(first))
    return {"value": _known(share), "low": _known(low), "high": _known(high), "n": len(first)}


def _share(given: Sequence[bool]) -> dict[str, Any]:
    found = proportion_interval(sum(given), len(given))
    return {"value": _known(found.mean), "low": _known(found.low), "high": _known(found.high), "n": found.n}


def _known(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 1) if values else None


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None
