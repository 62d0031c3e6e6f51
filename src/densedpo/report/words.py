"""Plain words for figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def what_was_done(figures: Mapping[str, Any]) -> str:
    """The whole story so far in one sentence."""
    parts = [f"{count(figures['pairs'], 'pair')} of clips"]
    if figures["labelled_segments"]:
        segments = count(figures["labelled_segments"], "segment")
        parts.append(f"{segments} labelled on {count(figures['labelled_pairs'], 'pair')}")
    if figures["training"]:
        parts.append(f"a LoRA trained for {count(figures['training']['steps'], 'step')}")
    results = figures["results"]
    if results and len(results["contestants"]) > 1:
        parts.append(f"compared with “{results['baseline']}” on {count(results['prompts'], 'prompt')}")
    return ", ".join(parts) + "."


def number(value: float | None, places: int = 3, signed: bool = False) -> str:
    """A number with a true minus sign, or a dash."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{places}f}".replace("-", "−")


def percent(value: float | None, places: int = 0, signed: bool = False) -> str:
    """A share in percent, or a dash."""
    return "–" if value is None else number(100 * value, places, signed) + "%"


def thousands(n: int) -> str:
    """`12,345`."""
    return f"{n:,}"


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


def count(n: int, noun: str) -> str:
    """`1 pair`, `1,200 pairs`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
