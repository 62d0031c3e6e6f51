"""The figures of a report, as plain JSON values: a pure function of the project and its runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from densedpo.report.outcomes import label_figures, pair_outcomes
from densedpo.report.runs import BASE, METRICS, Run, Score, finite
from densedpo.stats import Interval, group_means, mean_interval, paired_difference
from densedpo.store.project import Project

FINAL_SHARE = 0.1  # "final" is the mean over this share of the steps, at the end: single steps are noisy
AVERAGED = ("loss", "accuracy", "inside_median", "winner_delta", "loser_delta", "loser_dominated", "grad_norm")


def summarise(
    project: Project, training_run: str | None, evaluation_run: str | None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All figures of the report. Same inputs, same figures; a number that is unknown is None, never NaN."""
    extra = extra or {}
    training = Run.open(project, training_run) if training_run else None
    evaluation = Run.open(project, evaluation_run) if evaluation_run else None
    log = training.log() if training else []
    scores = evaluation.scores() if evaluation else []
    runs = {"training": training, "evaluation": evaluation}
    figures = {
        "format": 1,
        "runs": {"training": training_run, "evaluation": evaluation_run},
        **label_figures(pair_outcomes(project)),
        "contestants": contestant_figures(scores),
        "prompts": len({score.prompt for score in scores}),
        "videos": len(scores),
        "training": training_figures(log),
        "seconds": _seconds(log, extra),
        # A database's address may hold a password, and reports are passed on.
        "settings": {"project": project.settings.model_dump(mode="json", exclude={"database"})}
        | {stage: run.settings for stage, run in runs.items() if run},
        "versions": _versions([run for run in runs.values() if run], extra),
    }
    plain: dict[str, Any] = as_json(figures)
    return plain


def contestant_figures(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """For each contestant and metric: mean and interval over prompts, and the paired difference from the base."""
    by_contestant: dict[str, list[Score]] = {}
    for score in scores:
        by_contestant.setdefault(score.contestant, []).append(score)
    base = by_contestant.get(BASE, [])
    return {
        name: {metric: _metric(metric, rows, base if name != BASE else []) for metric in METRICS}
        for name, rows in sorted(by_contestant.items(), key=lambda item: item[0] != BASE)
    }


def training_figures(log: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Steps done and where the curves ended; None if nothing was trained."""
    if not log:
        return None
    tail = log[-max(1, math.ceil(FINAL_SHARE * len(log))) :]
    return {
        "steps": len(log),
        "first_loss": finite(log[0]["loss"]),
        **{f"final_{name}": _mean(line.get(name) for line in tail) for name in AVERAGED},
        "seconds": sum(filter(None, (finite(line.get("seconds")) for line in log))),
        "seconds_per_step": median([finite(line.get("seconds")) or 0.0 for line in log]),
    }


def as_json(value: Any) -> Any:
    """The same value in JSON's own types, with None for numbers JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return finite(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _metric(metric: str, rows: Sequence[Score], base: Sequence[Score]) -> dict[str, Any]:
    measured = [row for row in rows if metric in row.scores]
    values, prompts = [row.scores[metric] for row in measured], [row.prompt for row in measured]
    own = mean_interval(group_means(values, prompts))
    return {**_limits(own), "n": own.n, "difference": _difference(metric, measured, base)}


def _difference(metric: str, rows: Sequence[Score], base: Sequence[Score]) -> dict[str, Any] | None:
    """Over the videos that both sides have: same prompt, same seed."""
    before = {row.key: row.scores[metric] for row in base if metric in row.scores}
    paired = [row for row in rows if row.key in before]
    if not paired:
        return None
    prompts = [row.prompt for row in paired]
    from_, to = [before[row.key] for row in paired], [row.scores[metric] for row in paired]
    found = paired_difference(from_, to, prompts)
    level = sum(group_means(from_, prompts)) / found.n
    relative = found.mean / level if level > 0 else None
    return {**_limits(found), "n": found.n, "relative": relative, "base_mean": level}


def _limits(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(values: Iterable[Any]) -> float | None:
    known = [number for number in map(finite, values) if number is not None]
    return sum(known) / len(known) if known else None


def _seconds(log: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
    told, trained = dict(extra.get("seconds", {})), training_figures(log)
    return told if trained is None or "train" in told else told | {"train": trained["seconds"]}


def _versions(runs: Iterable[Run], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for run in runs:
        merged |= run.facts.get("versions", {})
    return dict(sorted((merged | dict(extra.get("versions", {}))).items()))
