"""The figures of a training run: where its curves ended, what it did at each noise level, what the guard saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from densedpo.report.runs import Run, finite

FINAL_SHARE = 0.1  # "final" is the mean over this share of the steps, at the end: single steps are noisy
AVERAGED = (
    *("loss", "accuracy", "pair_accuracy", "inside_median", "winner_delta", "loser_delta", "loser_dominated"),
    "grad_norm",
)
OF_LEVEL = ("accuracy", "winner_delta", "loser_delta")
FACTS = ("base_model", "method", "beta", "effective_k", "pairs", "left_out", "pairs_of_other_weights")

Row = Mapping[str, Any]  # a line of log.jsonl


def training_figures(log: Sequence[Row]) -> dict[str, Any] | None:
    """Steps done, where the curves ended, and the time it took; None if nothing was trained."""
    if not log:
        return None
    return {
        **curve_ends(log),
        "seconds": sum(filter(None, (finite(line.get("seconds")) for line in log))),
        "seconds_per_step": median([finite(line.get("seconds")) or 0.0 for line in log]),
    }


def run_figures(run: Run, log: Sequence[Row]) -> dict[str, Any]:
    """One of all the training runs: what it was told, where its curves ended, validation, noise levels, alarms."""
    return {
        "status": run.facts.get("status"),
        **{name: run.facts.get(name) for name in FACTS},
        **(curve_ends(log) if log else {"steps": 0}),
        "validation": _validation(log),
        "by_sigma": _by_sigma(log),
        "alarms": [{"step": line["step"], **alarm} for line in log for alarm in line.get("alarms", ())],
    }


def curve_ends(log: Sequence[Row]) -> dict[str, Any]:
    """The number of steps, the first loss, and means over the last steps."""
    tail = log[-_tail(log) :]
    ends = {f"final_{name}": _mean(line.get(name) for line in tail) for name in AVERAGED}
    return {"steps": len(log), "first_loss": finite(log[0].get("loss")), **ends}


def _tail(log: Sequence[Row]) -> int:
    return max(1, math.ceil(FINAL_SHARE * len(log)))


def _validation(log: Sequence[Row]) -> dict[str, Any] | None:
    """The validation loss at first, at its lowest, and at last; None without any."""
    told = [(loss, line["step"]) for line in log if (loss := finite(line.get("validation_loss"))) is not None]
    if not told:
        return None
    best, step = min(told)
    return {"first": told[0][0], "best": best, "best_step": step, "last": told[-1][0]}


def _by_sigma(log: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over the last steps for each fifth of the noise levels, weighted by how many pairs a step saw there."""
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for line in log[-_tail(log) :]:
        for level, found in line.get("by_sigma", {}).items():
            seen.setdefault(level, []).append(found)
    rows = []
    for level, found in sorted(seen.items()):
        pairs = sum(each["pairs"] for each in found)
        means = {key: sum(each[key] * each["pairs"] for each in found) / pairs for key in OF_LEVEL} if pairs else {}
        rows.append({"low": float(level), "high": round(float(level) + 0.2, 1), "pairs": pairs, **means})
    return rows


def _mean(values: Iterable[Any]) -> float | None:
    known = [number for number in map(finite, values) if number is not None]
    return sum(known) / len(known) if known else None
