"""What the scores say: means with intervals, paired differences from the baseline, and who beats whom."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from densedpo.evaluation.head_to_head import by_prompt, head_to_head
from densedpo.files import write_text_atomic
from densedpo.metrics import Metric
from densedpo.stats import mean_interval
from densedpo.stats.outcomes import win_tie_lose
from densedpo.stats.paired import holm, keeps, smallest_detectable, t_test

Row = Mapping[str, Any]  # a line of scores.jsonl

FORMAT = 2  # 1 had the scorers' contests right under head_to_head


def compare(
    rows: Sequence[Row],
    contestants: Sequence[str],
    metrics: Mapping[str, Metric],
    not_run: Mapping[str, str],
    motion_margin: float,
) -> dict[str, Any]:
    """All figures of results.json (docs/evaluation.md), the first contestant being the baseline. NaN where unknown."""
    baseline, *others = contestants
    names = [name for name in metrics if any(name in row["scores"] for row in rows)]
    return {
        "format": FORMAT,
        "baseline": baseline,
        "contestants": list(contestants),
        "prompts": len({row["prompt"] for row in rows}),
        "videos": len(rows),
        "metrics": {name: describe(metrics[name]) for name in names},
        "not_run": dict(not_run),
        "unmeasured": _unmeasured(rows),
        "table": {contestant: _table(rows, contestant, names) for contestant in contestants},
        "differences": {other: _differences(rows, baseline, other, names, metrics) for other in others},
        "motion_kept": {
            other: _motion(rows, baseline, other, [name for name in names if metrics[name].amount], motion_margin)
            for other in others
        },
        "head_to_head": {"scorers": _contests(rows, contestants, names, metrics)} if others else {},
    }


def _contests(
    rows: Sequence[Row], contestants: Sequence[str], names: Sequence[str], metrics: Mapping[str, Metric]
) -> dict[str, dict[str, Any]]:
    directed = [name for name in names if metrics[name].better != "neither"]
    return {name: head_to_head(rows, name, contestants, metrics[name].better) for name in directed}


def describe(metric: Metric) -> dict[str, Any]:
    """What a reader must know of a metric's numbers; None where the range has no end."""
    low, high = (None if math.isinf(end) else end for end in (metric.low, metric.high))
    told = {"title": metric.title, "aspect": metric.aspect, "low": low, "high": high, "better": metric.better}
    return told | {"amount": metric.amount, "source": metric.source, "blind_spot": metric.blind_spot}


def write_results(file: Path, results: Mapping[str, Any]) -> Path:
    """Write the figures as JSON, with null for what is unknown."""
    write_text_atomic(file, json.dumps(_plain(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return file


def _table(rows: Sequence[Row], contestant: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    cells = {name: mean_interval(list(by_prompt(rows, contestant, name).values())) for name in names}
    return {name: asdict(cell) for name, cell in cells.items() if cell.n}


def _differences(
    rows: Sequence[Row], baseline: str, other: str, names: Sequence[str], metrics: Mapping[str, Metric]
) -> dict[str, dict[str, Any]]:
    """Over the videos that both have. Holm's family is the metrics that have a better direction."""
    cells: dict[str, dict[str, Any]] = {}
    for name in names:
        differences = _paired(rows, baseline, other, name)
        if not differences:
            continue
        sign = -1 if metrics[name].better == "lower" else 1
        cells[name] = {
            **asdict(mean_interval(differences)),
            "p": t_test(differences),
            "smallest_detectable": smallest_detectable(differences),
        }
        if metrics[name].better != "neither":
            cells[name]["outcomes"] = asdict(win_tie_lose([sign * value for value in differences]))
    family = [name for name in cells if metrics[name].better != "neither"]
    for name, p in zip(family, holm([cells[name]["p"] for name in family]), strict=True):
        cells[name]["p_holm"] = p
    return cells


def _paired(rows: Sequence[Row], baseline: str, other: str, name: str) -> list[float]:
    """other - baseline of each prompt, averaged over the seeds that both have."""
    before = _videos(rows, baseline, name)
    both = [row for row in rows if row["contestant"] == other and _key(row) in before and name in row["scores"]]
    sums: dict[str, list[float]] = {}
    for row in both:
        sums.setdefault(row["prompt"], []).append(row["scores"][name] - before[_key(row)])
    return [math.fsum(values) / len(values) for values in sums.values()]


def _motion(
    rows: Sequence[Row], baseline: str, other: str, names: Sequence[str], margin: float
) -> dict[str, dict[str, Any]]:
    """Whether the contestant keeps the baseline's motion, by metrics that are amounts of it."""
    found = {}
    for name in names:
        before, after = _videos(rows, baseline, name), _videos(rows, other, name)
        both = [key for key in before if key in after]
        prompts = {_key(row): row["prompt"] for row in rows}
        if both:
            kept = keeps([before[k] for k in both], [after[k] for k in both], [prompts[k] for k in both], margin)
            found[name] = asdict(kept)
    return found


def _videos(rows: Sequence[Row], contestant: str, name: str) -> dict[tuple[int, int], float]:
    mine = [row for row in rows if row["contestant"] == contestant and name in row["scores"]]
    return {_key(row): row["scores"][name] for row in mine}


def _key(row: Row) -> tuple[int, int]:
    return row["prompt_index"], row["seed"]


def _unmeasured(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Contestant → metric → videos without a value."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for name in row.get("unmeasured", {}):
            mine = counts.setdefault(row["contestant"], {})
            mine[name] = mine.get(name, 0) + 1
    return counts


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
