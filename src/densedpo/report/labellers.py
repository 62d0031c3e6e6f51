"""Who labelled: how much, how quickly, how evenly, and how far labellers agree."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from densedpo.stats import Interval, proportion_interval
from densedpo.stats.agreement import agreement, alpha_interval, position_bias
from densedpo.store.answers import ASIDE, PAGE, REVIEW, Opinion, asked_aspect
from densedpo.store.answers import opinions as given_on_the_page
from densedpo.store.consensus import SIGNS
from densedpo.store.judgements import Judgement, judgements
from densedpo.store.labellers import Voice
from densedpo.store.project import Project
from densedpo.store.schema import Label

ASPECT = "overall"  # the one on which agreement is measured, as it is the one that training reads
RESAMPLES = 1000
MOST_COUPLES = 24  # of labellers compared with each other: those with the most segments in common

Place = tuple[str, int]  # pair, segment


@dataclass(frozen=True)
class Said:
    """One answer as it was given, whatever a reviewer made of it later."""

    pair: str
    segment: int | None
    aspect: str
    choice: str
    order_shown: str
    milliseconds: int | None
    counts: bool  # was not set aside


Answers = Mapping[Voice, Sequence[Said]]


def answers(labels: Iterable[Label], seconds: float) -> dict[Voice, list[Said]]:
    """Everybody's own words at work, people first; `labels` must hold superseded ones, `seconds` is a segment's length.

    Left out are answers to checks, reviewers' decisions, and segments of another length.
    """
    labels = [label for label in labels if label.segment is None or math.isclose(label.segment_seconds, seconds)]
    gone = {label.supersedes for label in labels}
    found: defaultdict[Voice, list[Said]] = defaultdict(list)
    for label in labels:
        on_the_page = label.annotator_kind == "human" and label.assignment is not None
        if not on_the_page and label.id not in gone and asked_aspect(label.aspect)[0] == "work":
            voice = Voice(label.annotator_kind, label.annotator, label.annotator_version)
            found[voice].append(_said(label, counts=True))
    for each in given_on_the_page(labels):
        if each.kind == "work":
            found[Voice("human", each.annotator, PAGE)].append(_said(each, counts=not each.aside))
    return {voice: found[voice] for voice in sorted(found, key=lambda voice: (voice.kind != "human", voice))}


def labelling_figures(project: Project, labels: Sequence[Label]) -> dict[str, Any]:
    """Labellers, their agreement, and what machine judges used; shares and statistics with 95% limits."""
    said = answers(labels, project.settings.segment_seconds)
    gone = {label.supersedes for label in labels}
    standing = Counter(label.annotator_version for label in labels if label.id not in gone)
    names = shown_names(said)
    return {
        "labellers": [{"shown": names[voice], **_labeller(voice, given)} for voice, given in said.items()],
        "decided_in_review": standing[REVIEW],
        "set_aside": standing[ASIDE],
        "agreement": {
            "all": _alpha(said),
            "people": _alpha({voice: given for voice, given in said.items() if voice.kind == "human"}),
            "between": _between(said, names),
        },
        "judges": _judges(project),
    }


def shown_names(voices: Iterable[Voice]) -> dict[Voice, str]:
    """A name that tells each voice from all others; people go by the pseudonym that their labels carry."""
    voices = list(voices)
    count = Counter(voice.name for voice in voices)
    return {voice: f"{voice.name} {voice.version[:6]}" if count[voice.name] > 1 else voice.name for voice in voices}


def share_of(part: int, whole: int) -> dict[str, Any]:
    """A share with Wilson's limits."""
    return _limits(proportion_interval(part, whole))


def _said(row: Label | Opinion, counts: bool) -> Said:
    return Said(row.pair, row.segment, row.aspect, row.choice, row.order_shown, row.milliseconds, counts)


def _labeller(voice: Voice, said: Sequence[Said]) -> dict[str, Any]:
    choices = Counter(each.choice for each in said)
    given = len(said) - choices["skip"]
    seconds = [each.milliseconds / 1000 for each in said if each.milliseconds]
    return {
        "kind": voice.kind,
        "name": voice.name,
        "version": voice.version,
        "labels": len(said),
        "pairs": len({each.pair for each in said}),
        "whole_videos": sum(each.segment is None for each in said),
        "choices": {choice: choices[choice] for choice in ("a", "tie", "b", "skip")},
        "ties": share_of(choices["tie"], given),
        "median_seconds": round(statistics.median(seconds), 3) if seconds else None,
        "total_seconds": round(sum(seconds), 3) if seconds else None,
        # A machine that scores each side for itself has no first side; what judges saw first is in their answers.
        "first_chosen": _position((each.choice, each.order_shown) for each in said) if voice.kind == "human" else None,
        "set_aside": sum(not each.counts for each in said),
    }


def _position(given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """How often the side shown first (on the left) was chosen, of (choice, order shown); fair is 0.5."""
    first = [choice == order[0] for choice, order in given if choice in ("a", "b")]
    share, low, high = position_bias(sum(first), len(first))
    return _limits(Interval(share, low, high, len(first)))


def _signs(said: Sequence[Said]) -> dict[Place, int]:
    """The last word of a labeller on each segment."""
    return {
        (each.pair, each.segment): SIGNS[each.choice]
        for each in said
        if each.segment is not None and each.aspect == ASPECT and each.choice != "skip" and each.counts
    }


def _alpha(said: Answers) -> dict[str, Any]:
    """Krippendorff's ordinal alpha over the segments that two or more labelled; limits by drawing pairs anew."""
    signs = [_signs(given) for given in said.values()]
    count = Counter(place for given in signs for place in given)
    places = sorted(place for place, labellers in count.items() if labellers > 1)
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    if not places:
        return {**nothing, "segments": 0, "labellers": len(said)}
    ratings_UR = np.array([[given.get(place, math.nan) for given in signs] for place in places])
    found = alpha_interval(ratings_UR, "ordinal", [pair for pair, _ in places], resamples=RESAMPLES)
    return {**_limits(found), "segments": len(places), "labellers": len(said)}


def _between(said: Answers, names: Mapping[Voice, str]) -> list[dict[str, Any]]:
    """Two labellers at a time, those with the most segments in common first."""
    signs = {voice: _signs(given) for voice, given in said.items()}
    common = {couple: signs[couple[0]].keys() & signs[couple[1]].keys() for couple in combinations(said, 2)}
    most = sorted((couple for couple in common if common[couple]), key=lambda couple: (-len(common[couple]), couple))
    rows = []
    for one, two in most[:MOST_COUPLES]:
        places = sorted(common[one, two])
        first, second = ([signs[voice][place] for place in places] for voice in (one, two))
        found = agreement(first, second, [pair for pair, _ in places], resamples=RESAMPLES)
        told = {"first": names[one], "second": names[two], "segments": found.n}
        kinds = ("accuracy_without_ties", "accuracy", "kappa_linear")
        rows.append(told | {kind: _limits(getattr(found, kind)) for kind in kinds})
    return rows


def _judges(project: Project) -> list[dict[str, Any]]:
    """What each machine judge was asked and answered, from its raw answers, and what that took."""
    given: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for answer in judgements(project):
        given[answer.judge, answer.judge_version].append(answer)
    return [_judge(name, version, said) for (name, version), said in sorted(given.items())]


def _judge(name: str, version: str, said: Sequence[Judgement]) -> dict[str, Any]:
    return {
        "judge": name,
        "version": version,
        "answers": len(said),
        "outcomes": dict(sorted(Counter(each.outcome for each in said).items())),
        "tokens_in": sum(each.tokens_in for each in said),
        "tokens_out": sum(each.tokens_out for each in said),
        "median_seconds": round(statistics.median(each.milliseconds / 1000 for each in said), 3),
        "first_chosen": _position((each.choice, each.order_shown) for each in said),
    }


def _limits(interval: Interval) -> dict[str, Any]:
    """Value, limits and the number of units; None where unknown."""
    value, low, high = (x if math.isfinite(x) else None for x in (interval.mean, interval.low, interval.high))
    return {"value": value, "low": low, "high": high, "n": interval.n}
