"""Which checkpoint at which scale: what each gains and costs, who is beaten in both, and one suggestion in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from densedpo.stats import Interval, mean_interval
from densedpo.stats.paired import holm

LEVEL = 0.05  # a metric fell if Holm's p is below this


@dataclass(frozen=True)
class Candidate:
    """A checkpoint at a scale, against the base.

    `quality` is the difference of the chosen metric, turned so that more is better, `p_holm` its p value corrected for
    the number of candidates. `motion` is the share of the base's motion that is left, and `keeps_motion` whether that
    is shown to be enough (None: not measured). `drift` and `motion_drift` are shares, on unrelated prompts. `fell`
    names other metrics with a direction that got worse. `front` tells that no other (nor the base) has at most this
    drift and at least this quality.
    """

    contestant: str
    step: int
    scale: float
    quality: Interval
    p: float
    p_holm: float
    motion: float | None
    keeps_motion: bool | None
    drift: Interval
    motion_drift: Interval | None
    fell: tuple[str, ...]
    front: bool

    @property
    def better(self) -> bool:
        """Whether the whole interval lies above the base."""
        return self.quality.low > 0

    @property
    def eligible(self) -> bool:
        """Whether it can be suggested: better, and motion is kept."""
        return self.better and self.keeps_motion is True


def candidates(
    contestants: Mapping[str, tuple[int, float]],
    results: Mapping[str, Any],
    drift: Mapping[str, Sequence[Mapping[str, Any]]],
    quality: str,
    motion: str | None,
) -> list[Candidate]:
    """All contestants (name → step, scale) from the figures of results.json and the rows of `measure_drift`.

    A contestant without a value of the metric has unknown (NaN) limits.
    """
    sign = {name: -1.0 if told["better"] == "lower" else 1.0 for name, told in results["metrics"].items()}
    cells = {name: results["differences"][name] for name in contestants}
    gains = {name: _turned(cell.get(quality), sign.get(quality, 1.0)) for name, cell in cells.items()}
    p_values = [cells[name].get(quality, {}).get("p", math.nan) for name in contestants]
    corrected = dict(zip(contestants, holm(p_values), strict=True))
    spent = {name: mean_interval([row["velocity"] for row in drift[name]]) for name in contestants}
    points = [(0.0, 0.0), *((spent[name].mean, gains[name].mean) for name in contestants)]
    found = []
    for (name, (step, scale)), p in zip(contestants.items(), p_values, strict=True):
        kept = results["motion_kept"][name].get(motion)
        moved = [row["motion"] for row in drift[name] if row["motion"] is not None]
        found.append(
            Candidate(
                contestant=name,
                step=step,
                scale=scale,
                quality=gains[name],
                p=p,
                p_holm=corrected[name],
                motion=kept["ratio"] if kept else None,
                keeps_motion=bool(kept["holds"]) if kept else None,
                drift=spent[name],
                motion_drift=mean_interval(moved) if moved else None,
                fell=tuple(
                    other for other, cell in cells[name].items() if other != quality and _fell(cell, sign[other])
                ),
                front=on_front((spent[name].mean, gains[name].mean), points),
            )
        )
    return found


def on_front(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    """Whether no other of the points (drift, quality) has at most this drift, at least this quality, and one better."""
    drift, quality = point
    if not math.isfinite(drift) or not math.isfinite(quality):
        return False
    return not any(d <= drift and q >= quality and (d, q) != point for d, q in points)


def suggested(found: Sequence[Candidate]) -> Candidate | None:
    """The smallest drift among those that are better and keep their motion."""
    return min((each for each in found if each.eligible), key=lambda each: each.drift.mean, default=None)


def in_words(found: Sequence[Candidate], quality: str, motion: str | None) -> str:
    """The suggestion, what speaks for it, and what does not."""
    chosen, better = suggested(found), [each for each in found if each.better]
    if chosen is None:
        if not better:
            return (
                f"Keep the base, or look further: for none of {len(found)} candidates does the whole interval of "
                f"{quality} lie above the base's. More prompts narrow the intervals."
            )
        why = "motion was not measured" if motion is None else f"none of them is shown to keep its {motion}"
        return f"No suggestion: {len(better)} of {len(found)} candidates are better by {quality}, but {why}."
    eligible = sum(each.eligible for each in found)
    gain = chosen.quality
    words = (
        f"Step {chosen.step} at scale {chosen.scale:g}: of {eligible} of {len(found)} candidates that are better by "
        f"{quality} and keep their {motion}, it drifts least ({chosen.drift.mean:.1%}). It gains {gain.mean:+.3g} (95% "
        f"interval {gain.low:+.3g} to {gain.high:+.3g}) and keeps {_share(chosen.motion)} of the motion."
    )
    if chosen.p_holm < LEVEL:
        words += f" This holds also when corrected for {len(found)} candidates (Holm p {chosen.p_holm:.2g})."
    else:
        words += (
            f" Corrected for {len(found)} candidates it is not significant (Holm p {chosen.p_holm:.2g}): confirm it on "
            "other prompts."
        )
    if chosen.fell:
        words += f" But it got worse by {', '.join(chosen.fell)}: look at its clips."
    return words


def _share(value: float | None) -> str:
    return "all" if value is None else f"{value:.0%}"


def _turned(cell: Mapping[str, Any] | None, sign: float) -> Interval:
    if cell is None:
        return Interval(math.nan, math.nan, math.nan, 0)
    low, high = sorted((sign * cell["low"], sign * cell["high"])) if sign < 0 else (cell["low"], cell["high"])
    return Interval(sign * cell["mean"], low, high, cell["n"])


def _fell(cell: Mapping[str, Any], sign: float) -> bool:
    return "p_holm" in cell and cell["p_holm"] < LEVEL and sign * cell["mean"] < 0
