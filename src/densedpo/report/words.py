"""Plain words for figures. Words never claim more than the interval behind them shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from densedpo.report.runs import BASE, METRICS

NAMES = {
    "visual_quality": "visual quality",
    "text_alignment": "text alignment",
    "temporal_consistency": "temporal consistency",
    "dynamic_degree": "motion",
}
MOTION = "dynamic_degree"
MARGIN = 0.05  # motion counts as kept when the whole interval lies within this share of the base's motion


def direction(metric: str, difference: Mapping[str, Any] | None) -> str:
    """What the interval shows: `rose`, `fell`, `kept` (motion only), `unclear`, or `unknown` without limits."""
    if not difference or difference["low"] is None:
        return "unknown"
    if difference["low"] > 0:
        return "rose"
    if difference["high"] < 0:
        return "fell"
    limits = relative_limits(difference)
    if metric == MOTION and limits and max(map(abs, limits)) <= MARGIN:
        return "kept"
    return "unclear"


def relative_limits(difference: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Mean, low and high of the difference as shares of the base's mean; None where that says nothing."""
    if difference["relative"] is None or difference["low"] is None:
        return None
    level = difference["base_mean"]
    return difference["relative"], difference["low"] / level, difference["high"] / level


def sentence(metric: str, difference: Mapping[str, Any] | None) -> str:
    """One clause about one metric, e.g. `Visual quality rose by 0.021 [+0.008, +0.034]`."""
    name, found = NAMES[metric], direction(metric, difference)
    if not difference:
        return f"{name.capitalize()} was not measured on both sides"
    if found == "unknown":
        return f"{name.capitalize()} was compared on one prompt only: too few for an interval"
    amount, interval = _amount(metric, difference)
    if found in ("rose", "fell"):
        return f"{name.capitalize()} {found} by {amount.lstrip('+−')} {interval}"
    said = f"kept within {MARGIN:.0%}" if found == "kept" else "shows no clear change"
    return f"{name.capitalize()} {said}: {amount} {interval}"


def verdict(name: str, metrics: Mapping[str, Any]) -> str:
    """One sentence over all metrics of one contestant against the base."""
    found: dict[str, list[str]] = {}
    for metric in METRICS:
        found.setdefault(direction(metric, metrics[metric]["difference"]), []).append(NAMES[metric])
    clauses = [f"{said} {_list(found[key])}" for key, said in (("rose", "raised"), ("fell", "lowered")) if key in found]
    if "kept" in found:
        clauses.append("kept motion")
    said = f"“{name}” {_list(clauses)}" if clauses else f"“{name}” differs from the base on nothing that was measured"
    open_ = found.get("unclear", []) + found.get("unknown", [])
    if not open_:
        return f"{said}."
    if not clauses:
        return f"No clear difference between “{name}” and the base."
    return f"{said}; no clear change in {_list(open_)}."


def what_was_done(figures: Mapping[str, Any]) -> str:
    """The whole story so far in one sentence."""
    parts = [f"{_count(figures['pairs'], 'pair')} of clips"]
    if figures["labelled_segments"]:
        segments = _count(figures["labelled_segments"], "segment")
        parts.append(f"{segments} labelled on {_count(figures['labelled_pairs'], 'pair')}")
    if figures["training"]:
        parts.append(f"a LoRA trained for {_count(figures['training']['steps'], 'step')}")
    tuned = [name for name in figures["contestants"] if name != BASE]
    if tuned and BASE in figures["contestants"]:
        parts.append(f"compared with the base on {_count(figures['prompts'], 'held-out prompt')}")
    return ", ".join(parts) + "."


def number(value: float | None, places: int = 3, signed: bool = False) -> str:
    """A number with a true minus sign, or a dash."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{places}f}".replace("-", "−")


def percent(value: float | None, places: int = 0, signed: bool = False) -> str:
    """A share in percent, or a dash."""
    return "–" if value is None else number(100 * value, places, signed) + "%"


def duration(seconds: float | None) -> str:
    """`8.4 s`, `3 min 12 s`, `2 h 05 min`."""
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _amount(metric: str, difference: Mapping[str, Any]) -> tuple[str, str]:
    relative = relative_limits(difference) if metric == MOTION else None
    if relative:
        mean, low, high = (percent(value, 1, signed=True) for value in relative)
    else:
        mean, low, high = (number(difference[key], signed=True) for key in ("mean", "low", "high"))
    return mean, f"[{low}, {high}]"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
