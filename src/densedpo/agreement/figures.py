"""All numbers of the page, as plain JSON: what `agreement.json` holds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from densedpo.agreement.behaviour import costs, judge_figures, people_figures
from densedpo.agreement.motion import motion_strengths
from densedpo.agreement.opinions import (
    Choices,
    Opinions,
    Place,
    collect,
    majorities,
    on_segments,
    on_videos,
    references,
)
from densedpo.agreement.settings import AgreementSettings
from densedpo.errors import UserError
from densedpo.judges.static import recorded_static_tests
from densedpo.stats.agreement import Agreement, agreement, alpha_interval, position_bias
from densedpo.stats.intervals import Interval
from densedpo.store.labellers import Voice
from densedpo.store.project import Project

CELL_RESAMPLES = 400  # draws behind the interval of one cell of a table, at most
BINS = ("little", "some", "much")  # thirds of the segments by motion


def figures(project: Project, opinions: Opinions, settings: AgreementSettings) -> dict[str, Any]:
    """Everything there is to say; what cannot be said is None or left out."""
    compared = references(project, opinions, settings)
    voices = [_voice(opinions, voice) for voice in opinions.voices]
    return {
        "project": project.root.resolve().name,
        "settings": settings.model_dump(mode="json"),
        "fingerprint": project.fingerprint(),
        "pairs": len({said.place[0] for given in opinions.said.values() for said in given}),
        "labels": sum(len(given) for given in opinions.said.values()),
        "other_grid": opinions.other_grid,
        "aspects": sorted(opinions.aspects),
        "voices": voices,
        "alpha": _alphas(opinions, settings),
        "against_reference": {
            opinions.shown(voice): _compare(on_segments(reference), opinions.choices[voice], settings)
            for voice, reference in compared.items()
        },
        "between": _between(opinions, settings),
        "by_segment": _by_segment(opinions, compared, settings),
        "by_motion": _by_motion(project, opinions, compared, settings),
        "by_aspect": _by_aspect(project, opinions, settings),
        "whole_videos": _whole_videos(opinions, compared, settings),
        "people": people_figures(opinions),
        "judges": judge_figures(project, opinions, settings.annotators),
        "costs": costs(opinions),
        "static": [_static(test) for test in recorded_static_tests(project)],
    }


def interval_json(interval: Interval) -> dict[str, float | int | None]:
    """Value, limits and number of groups; None where unknown."""
    low, high = (_finite(limit) for limit in (interval.low, interval.high))
    return {"value": _finite(interval.mean), "low": low, "high": high, "n": interval.n}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _voice(opinions: Opinions, voice: Voice) -> dict[str, Any]:
    counts = Counter(opinions.choices[voice].values())
    return {
        "shown": opinions.shown(voice),
        "kind": voice.kind,
        "name": voice.name,
        "version": voice.version,
        "labels": len(opinions.said[voice]),
        "segments": len(on_segments(opinions.choices[voice])),
        "whole_videos": len(on_videos(opinions.choices[voice])),
        "choices": {"a": counts[1], "tie": counts[0], "b": counts[-1], "skip": opinions.skipped[voice]},
    }


def _compare(
    reference: Choices, given: Choices, settings: AgreementSettings, resamples: int | None = None
) -> dict[str, Any]:
    """Agreement on the places that both have."""
    places = sorted(reference.keys() & given.keys(), key=str)
    found = agreement(
        [reference[place] for place in places],
        [given[place] for place in places],
        [pair for pair, _ in places],
        seed=settings.seed,
        resamples=min(settings.resamples, resamples or settings.resamples),
    )
    return _agreement_json(found)


def _agreement_json(found: Agreement) -> dict[str, Any]:
    names = ("accuracy", "accuracy_without_ties", "decided", "kappa", "kappa_linear", "alpha")
    rest = {name: interval_json(getattr(found, name)) for name in names}
    return {"n": found.n, "pairs": found.groups, "confusion": [list(row) for row in found.confusion], **rest}


def _alphas(opinions: Opinions, settings: AgreementSettings) -> dict[str, Any]:
    """Krippendorff's alpha of all labellers and of the people, over segments."""
    people = [voice for voice in opinions.voices if voice.kind == "human"]
    result = {}
    for name, voices in (("all", opinions.voices), ("people", people)):
        choices = [on_segments(opinions.choices[voice]) for voice in voices]
        places = sorted(set().union(*choices), key=str) if choices else []
        ratings = np.array([[given.get(place, math.nan) for given in choices] for place in places]).reshape(
            len(places), len(choices)
        )
        found = alpha_interval(
            ratings, groups=[pair for pair, _ in places], seed=settings.seed, resamples=settings.resamples
        )
        result[name] = {**interval_json(found), "labellers": len(voices)}
    return result


def _between(opinions: Opinions, settings: AgreementSettings) -> list[dict[str, Any]]:
    """Every two labellers who have segments in common."""
    rows = []
    for i, first in enumerate(opinions.voices):
        for second in opinions.voices[:i]:
            found = _compare(on_segments(opinions.choices[second]), opinions.choices[first], settings, CELL_RESAMPLES)
            if found["n"]:
                rows.append({"first": opinions.shown(second), "second": opinions.shown(first), **found})
    return rows


Cells = dict[str, list[dict[str, Any]]]


def _by_segment(opinions: Opinions, compared: Mapping[Voice, Choices], settings: AgreementSettings) -> Cells:
    last = max(
        (segment for given in opinions.choices.values() for _, segment in given if segment is not None), default=-1
    )
    return {
        opinions.shown(voice): [
            {"segment": index, **_compare(_only(reference, {index}), opinions.choices[voice], settings, CELL_RESAMPLES)}
            for index in range(last + 1)
        ]
        for voice, reference in compared.items()
    }


def _only(choices: Choices, segments: set[int]) -> dict[Place, int]:
    return {place: sign for place, sign in choices.items() if place[1] in segments}


def _by_motion(
    project: Project, opinions: Opinions, compared: Mapping[Voice, Choices], settings: AgreementSettings
) -> dict[str, Any]:
    """Agreement in the thirds of the segments that move least, more, most; limits in grey levels a second."""
    wanted = sorted({pair for choices in compared.values() for pair, _ in choices})[: settings.motion_pairs]
    strengths = motion_strengths(project, [opinions.pairs[id] for id in wanted])
    if len(strengths) < len(BINS):
        return {"limits": [], "pairs": 0, "cells": {}}
    limits = np.quantile(list(strengths.values()), [1 / 3, 2 / 3])
    bins: dict[int, set[Place]] = defaultdict(set)
    for place, strength in strengths.items():
        bins[int(np.searchsorted(limits, strength))].add(place)
    cells = {
        opinions.shown(voice): [
            {
                "motion": name,
                **_compare(
                    {place: sign for place, sign in reference.items() if place in bins[number]},
                    opinions.choices[voice],
                    settings,
                    CELL_RESAMPLES,
                ),
            }
            for number, name in enumerate(BINS)
        ]
        for voice, reference in compared.items()
    }
    return {"limits": [round(float(limit), 3) for limit in limits], "pairs": len(wanted), "cells": cells}


def _by_aspect(project: Project, opinions: Opinions, settings: AgreementSettings) -> Cells:
    """The same comparison on every aspect that has labels; empty if there is one only."""
    if len(opinions.aspects) < 2:
        return {}
    rows: Cells = defaultdict(list)
    for aspect in sorted(opinions.aspects):
        asked = settings.model_copy(update={"aspect": aspect})
        here = collect(project, asked, aspect)
        try:
            compared = references(project, here, asked)
        except UserError:  # the reference says nothing on this aspect
            continue
        for voice, reference in compared.items():
            found = _compare(on_segments(reference), here.choices[voice], settings, CELL_RESAMPLES)
            rows[here.shown(voice)].append({"aspect": aspect, **found})
    return dict(rows)


def _whole_videos(
    opinions: Opinions, compared: Mapping[Voice, Choices], settings: AgreementSettings
) -> list[dict[str, Any]]:
    """Segments, whole videos and majorities of segments of each labeller against the reference: DenseDPO's table 3a."""
    rows = []
    for voice, reference in compared.items():
        mine = opinions.choices[voice]
        sets: Sequence[tuple[str, Choices, Choices]] = (
            ("segments", on_segments(reference), mine),
            ("whole", on_videos(reference), on_videos(mine)),
            ("majority", on_videos(reference), majorities(mine)),
        )
        found = {name: _compare(theirs, given, settings, CELL_RESAMPLES) for name, theirs, given in sets}
        rows.append({"shown": opinions.shown(voice), **found})
    return rows


def _static(test: Mapping[str, Any]) -> dict[str, Any]:
    share, low, high = position_bias(test["frozen"], test["frozen"] + test["moving"])
    limits = {"value": _finite(share), "low": _finite(low), "high": _finite(high)}
    return {**test, "frozen_share": {**limits, "n": test["frozen"] + test["moving"]}}
