"""The figures of a report, as plain JSON values: a pure function of the project and its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from densedpo.report.data_figures import clip_figures, pair_figures
from densedpo.report.labellers import labelling_figures
from densedpo.report.outcomes import label_figures, pair_outcomes
from densedpo.report.runs import BASE, METRICS, Run, Score, all_runs, finite
from densedpo.report.subject import Subject
from densedpo.report.trainings import run_figures, training_figures
from densedpo.stats import Interval, group_means, mean_interval, paired_difference
from densedpo.store.project import Project

FORMAT = 1


def summarise(
    project: Project, training_run: str | None, evaluation_run: str | None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All figures of the report. Same inputs, same figures; a number that is unknown is None, never NaN."""
    return dict(gather(project, training_run, evaluation_run, extra or {}).figures)


def gather(project: Project, training_run: str | None, evaluation_run: str | None, extra: Mapping[str, Any]) -> Subject:
    """Read everything that the pages tell, once."""
    training = Run.open(project, training_run) if training_run else None
    evaluation = Run.open(project, evaluation_run) if evaluation_run else None
    agreement = max(all_runs(project, "agreement.json"), key=_written, default=None)
    others = [run for run in all_runs(project, "log.jsonl") if run.name != training_run]
    logs = {run.name: (run, run.log()) for run in [*([training] if training else []), *others]}
    labels = list(project.labels(superseded=True))
    outcomes = pair_outcomes(project, labels)
    scores, log = evaluation.scores() if evaluation else [], logs[training.name][1] if training else []
    runs = {"training": training, "evaluation": evaluation}
    figures = {
        "format": FORMAT,
        "runs": {stage: run.name if run else None for stage, run in (runs | {"agreement": agreement}).items()},
        **label_figures(outcomes),
        "clips": clip_figures(project),
        "pair_set": pair_figures([view.pair for view in outcomes]),
        **labelling_figures(project, labels),
        "contestants": contestant_figures(scores),
        "prompts": len({score.prompt for score in scores}),
        "videos": len(scores),
        "results": evaluation.results() if evaluation else None,
        "training": training_figures(log),
        "trainings": {name: run_figures(run, found) for name, (run, found) in logs.items()},
        "seconds": _seconds(log, extra),
        # A database's address may hold a password, and reports are passed on.
        "settings": {"project": project.settings.model_dump(mode="json", exclude={"database"})}
        | {stage: run.settings for stage, run in runs.items() if run},
        "versions": _versions([run for run in runs.values() if run], extra),
    }
    commands = as_json(extra.get("commands")) or _commands(figures["runs"])
    trainings = [run for run, _ in logs.values()]
    return Subject(project, as_json(figures), outcomes, trainings, evaluation, agreement, commands)


def _written(run: Run) -> tuple[int, str]:
    """When an agreement run was written."""
    return (run.folder / "agreement.json").stat().st_mtime_ns, run.name


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


def _seconds(log: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
    told, trained = dict(extra.get("seconds", {})), training_figures(log)
    return told if trained is None or "train" in told else told | {"train": trained["seconds"]}


def _versions(runs: Iterable[Run], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for run in runs:
        merged |= run.facts.get("versions", {})
    return dict(sorted((merged | dict(extra.get("versions", {}))).items()))


def _commands(runs: Mapping[str, str | None]) -> list[str]:
    again = [
        f"densedpo {command} PROJECT --config PROJECT/runs/{runs[stage]}/settings.yaml"
        for stage, command in (("training", "train"), ("evaluation", "evaluate"))
        if runs[stage]
    ]
    return [*again, "densedpo report PROJECT"]
