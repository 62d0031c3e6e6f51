"""How labellers behave, whatever the truth: which side they lean to, whether they repeat themselves, what they cost."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from densedpo.agreement.opinions import Opinions
from densedpo.judges.static import ASPECT as STATIC_TEST
from densedpo.stats.agreement import position_bias
from densedpo.stats.intervals import proportion_interval
from densedpo.store.judgements import Judgement, judgements
from densedpo.store.project import Project

Prices = tuple[float, float]  # of a million tokens asked, and answered


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


def judge_figures(project: Project, opinions: Opinions, annotators: Sequence[str] | None) -> list[dict[str, Any]]:
    """For each judge that answered in its own words, from its raw answers, before both orders became one label.

    Of the judges in `annotators`, or, if it is None, of all.
    """
    answers: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for answer in judgements(project):
        asked_for = annotators is None or answer.judge in annotators
        if asked_for and answer.pair in opinions.pairs and answer.aspect != STATIC_TEST:
            answers[answer.judge, answer.judge_version].append(replace(answer, raw="", reason=""))
    prices = _prices(project)
    versions = Counter(name for name, _ in answers)
    return [
        {"shown": f"{name} {version[:6]}" if versions[name] > 1 else name, **_judge(given, prices.get(name))}
        for (name, version), given in sorted(answers.items())
    ]


def _judge(given: Sequence[Judgement], prices: Prices | None) -> dict[str, Any]:
    opinions = [answer for answer in given if answer.choice != "skip"]
    flips, repeats = _flips_and_repeats(opinions)
    return {
        "answers": len(given),
        "abstained": len(given) - len(opinions),
        "abstentions": dict(Counter(answer.outcome for answer in given if answer.choice == "skip").most_common()),
        "artifacts": _artifacts(opinions),
        "position": _position((answer.choice, answer.order_shown) for answer in opinions),
        "flips": _share(flips),
        "repeats": _share(repeats),
        **_paid(given, prices),
    }


def _flips_and_repeats(given: Sequence[Judgement]) -> tuple[list[bool], list[bool]]:
    """Whether the other order got another choice, question by question; whether a later vote repeated the first."""
    asked: dict[tuple[Any, ...], dict[tuple[str, int], str]] = defaultdict(dict)
    for answer in given:
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
    return flips, repeats


def _artifacts(given: Sequence[Judgement]) -> list[dict[str, Any]]:
    """By kind, the most frequent first: answers that name it, and in which clip: the one chosen, the other."""
    answers, chosen, other = Counter[str](), Counter[str](), Counter[str]()
    for answer in given:
        seen = {member: set(answer.artifacts.get(member, ())) for member in ("a", "b")}
        answers.update(seen["a"] | seen["b"])
        if answer.choice in seen:
            chosen.update(seen[answer.choice])
            other.update(seen["b" if answer.choice == "a" else "a"])
    return [
        {"kind": kind, "answers": count, "in_chosen": chosen[kind], "in_other": other[kind]}
        for kind, count in sorted(answers.items(), key=lambda row: (-row[1], row[0]))
    ]


def _paid(given: Sequence[Judgement], prices: Prices | None) -> dict[str, Any]:
    """Tokens and money, in all and for each place (a segment or video, on one aspect); money None without prices."""
    places = len({(answer.pair, answer.segment, answer.aspect) for answer in given})
    tokens_in, tokens_out = sum(answer.tokens_in for answer in given), sum(answer.tokens_out for answer in given)
    money = None if prices is None else (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6
    return {
        "places": places,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "money": None if money is None else round(money, 6),
        "place_tokens": round((tokens_in + tokens_out) / places, 1),
        "place_money": None if money is None else round(money / places, 9),
        "answer_seconds": _median([answer.milliseconds / 1000 for answer in given if answer.milliseconds]),
    }


def _prices(project: Project) -> dict[str, Prices]:
    """What a million tokens asked and answered cost, by judge, as its latest run with prices had it."""
    known: dict[str, Prices] = {}
    for event in sorted((event for event in project.events() if event.kind == "label"), key=lambda each: each.time):
        price_in, price_out = event.detail.get("price_in"), event.detail.get("price_out")
        if price_in is not None and price_out is not None:
            known[event.detail["annotator"]] = price_in, price_out
    return known


def costs(opinions: Opinions) -> list[dict[str, Any]]:
    """Seconds that a label took, where they were measured, and hours of all these labels together."""
    rows = []
    for voice in opinions.voices:
        seconds = [each.milliseconds / 1000 for each in opinions.said[voice] if each.milliseconds]
        if seconds:
            median = _median(seconds)
            hourly = round(3600 / median) if median else None
            row = {"shown": opinions.shown(voice), "n": len(seconds), "seconds": median, "per_hour": hourly}
            rows.append({**row, "hours": round(sum(seconds) / 3600, 3)})
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


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None
