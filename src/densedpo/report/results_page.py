"""The results page: which contestant is better than the baseline, in what, how surely, and what became of its motion.

Everything comes from two files of the evaluation, `results.json` and `scores.jsonl`, and from its clips.
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densedpo.report.results_charts import Chart, difference_chart, kept_chart, strength_chart
from densedpo.report.results_data import clip_data
from densedpo.report.runs import Run
from densedpo.report.words import percent
from densedpo.store.project import Project

ASSETS = ("results.css", "results_playback.js", "results_viewer.js", "results_scatter.js", "results.js")
FORMAT = 2  # of results.json
ALPHA = 0.05
ASPECTS = ("quality", "consistency", "text", "motion")  # the order of the tables
ARROWS = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}
JUDGES = {
    "scorers": "by scores",
    "human": "by people",
    "vlm": "by a vision-language model",
    "reward": "by a reward model",
    "oracle": "by the simulated annotator",
}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class MetricTable:
    """One metric: each contestant's mean, its difference from the baseline, and the chart of the differences."""

    name: str
    about: Json
    means: dict[str, Json]
    differences: dict[str, Json]
    chart: Chart

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        return ARROWS[self.about["better"]]

    def finding(self, contestant: str) -> str:
        """`better` or `worse` where Holm's p is below 0.05, `open` otherwise, `none` without a direction."""
        return finding(self.about["better"], self.differences.get(contestant))


@dataclass(frozen=True)
class KeptTable:
    """One amount of motion: what share of the baseline's each contestant keeps."""

    title: str
    rows: dict[str, Json]
    chart: Chart | None


@dataclass(frozen=True)
class Contest:
    """Strengths by one judge or metric, the strongest first, and the outcomes of every two contestants.

    `judged`: of people and machines, how many they are and how much they have seen (docs/evaluation.md).
    """

    judge: str
    title: str
    strengths: dict[str, Json]
    pairs: dict[str, Json]
    judged: Json
    chart: Chart | None


@dataclass(frozen=True)
class Verdict:
    """What is found about one contestant: titles of metrics, with their figures where there is a finding.

    `lost`: amounts of motion not shown to be kept; `suspect`: what is better in consistency, which stillness improves,
    while motion was lost.
    """

    name: str
    better: list[tuple[str, str]]
    worse: list[tuple[str, str]]
    open: list[str]
    kept: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    suspect: list[str]


def results_page(project: Project, evaluation: Run, out: Path) -> dict[str, Any]:
    """What results.html needs. Copies its style, its scripts and the clips into `out`, each clip once.

    Without a `results.json` of this version there is nothing but the command that makes it (`command`). Raises
    UserError for a line of scores.jsonl that is not JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in ASSETS:
        shutil.copyfile(Path(__file__).parent / "templates" / name, out / name)
    results = evaluation.results()
    base = {"evaluation": evaluation.name, "command": again(project, evaluation), "results": None}
    if results is None or results["format"] != FORMAT:
        return base
    baseline, *others = results["contestants"]
    metrics = ordered(results["metrics"])
    kept = _kept_tables(results, baseline, others)
    return base | {
        "results": results,
        "baseline": baseline,
        "others": others,
        "colour": {name: number for number, name in enumerate(results["contestants"])},
        "seeds": _seeds(evaluation),
        "verdicts": [verdict(results, name) for name in others],
        "metric_tables": [_metric_table(results, name, others) for name in metrics],
        "kept_tables": kept,
        "contests": contests(results),
        "data": clip_data(project, evaluation, results, metrics, out),
        "limits": limits,
        "p_value": p_value,
    }


def again(project: Project, evaluation: Run) -> str:
    """The command that goes on with the evaluation and compares anew."""
    name = project.root.resolve().name
    return shlex.join(["densedpo", "evaluate", name, "--config", f"{name}/runs/{evaluation.name}/settings.yaml"])


def finding(better: str, difference: Json | None) -> str:
    """What a difference shows: `better`, `worse`, `open` (no finding), or `none` for a metric without a direction."""
    if better == "neither" or difference is None:
        return "none"
    if difference.get("p_holm") is None or difference["p_holm"] >= ALPHA:
        return "open"
    return "better" if (difference["mean"] > 0) == (better == "higher") else "worse"


def verdict(results: Json, name: str) -> Verdict:
    """All findings about one contestant."""
    about, differences = results["metrics"], results["differences"][name]
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": [], "none": []}
    for metric in ordered(about):
        found[finding(about[metric]["better"], differences.get(metric))].append(metric)
    motion = results["motion_kept"].get(name, {})
    lost = [metric for metric in motion if not motion[metric]["holds"]]
    kept = [metric for metric in motion if motion[metric]["holds"]]
    suspect = [metric for metric in found["better"] if lost and about[metric]["aspect"] == "consistency"]

    def titles(names: Sequence[str]) -> list[str]:
        return [about[metric]["title"] for metric in names]

    def moved(names: Sequence[str]) -> list[tuple[str, str]]:
        return [(about[metric]["title"], " ".join(limits(differences[metric], signs=True))) for metric in names]

    def shares(names: Sequence[str]) -> list[tuple[str, str]]:
        return [(about[metric]["title"], percent(motion[metric]["ratio"])) for metric in names]

    findings = moved(found["better"]), moved(found["worse"]), titles(found["open"]), shares(kept), shares(lost)
    return Verdict(name, *findings, titles(suspect))


def contests(results: Json) -> list[Contest]:
    """The head-to-head contests: those by people and machines first, then those by metrics."""
    kinds = {**results.get("head_to_head", {})}
    ordered = [*(kind for kind in kinds if kind != "scorers"), *(kind for kind in kinds if kind == "scorers")]
    return [_contest(results, kind, name, each) for kind in ordered for name, each in kinds[kind].items()]


def limits(interval: Json, signs: bool = False) -> tuple[str, str]:
    """A mean and its interval in words, to two digits of the interval's half width: `0.021`, `[0.008, 0.034]`."""
    mean, low, high = (interval[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "–", ""
    half = (high - low) / 2 if low is not None else 0.0
    places = min(_places(half or abs(mean) / 10), 4 if abs(mean) >= 0.1 else 6)
    middle, *ends = (_plain(value, places, signs) for value in (mean, low, high))
    return middle, f"[{ends[0]}, {ends[1]}]" if low is not None else ""


def p_value(p: float | None) -> str:
    """`0.034`, or `< 0.001`; a dash where it is unknown."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _contest(results: Json, kind: str, name: str, each: Json) -> Contest:
    strengths = dict(sorted(each["strengths"].items(), key=lambda item: -item[1]["mean"]))
    title = results["metrics"][name]["title"] if kind == "scorers" else name
    judged = {key: each[key] for key in ("annotators", "models", "videos", "outdated") if key in each}
    return Contest(JUDGES.get(kind, kind), title, strengths, each["pairs"], judged, strength_chart(strengths))


def _metric_table(results: Json, name: str, others: Sequence[str]) -> MetricTable:
    means = {each: row[name] for each, row in results["table"].items() if name in row}
    differences = {each: results["differences"][each][name] for each in others if name in results["differences"][each]}
    about = results["metrics"][name]
    return MetricTable(name, about, means, differences, difference_chart(differences, about["better"]))


def _kept_tables(results: Json, baseline: str, others: Sequence[str]) -> list[KeptTable]:
    tables = []
    for name in ordered(results["metrics"]):
        rows = {each: results["motion_kept"][each][name] for each in others if name in results["motion_kept"][each]}
        if rows:
            level = results["table"][baseline][name]["mean"]
            tables.append(KeptTable(results["metrics"][name]["title"], rows, kept_chart(rows, level)))
    return tables


def ordered(about: Json) -> list[str]:
    """The metrics' names by aspect, and within one those with a direction first."""
    return sorted(about, key=lambda name: (ASPECTS.index(about[name]["aspect"]), about[name]["better"] == "neither"))


def _seeds(evaluation: Run) -> int:
    return len({row.seed for row in evaluation.scores()})


def _places(half: float) -> int:
    return max(0, 1 - math.floor(math.log10(half))) if half else 0


def _plain(value: float | None, places: int, signs: bool) -> str:
    if value is None:
        return "–"
    text = f"{value:{'+' if signs else ''},.{places}f}".replace("-", "−")
    return text.lstrip("+−") if not float(f"{value:.{places}f}") else text
