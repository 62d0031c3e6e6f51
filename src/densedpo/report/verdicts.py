"""What results.json says, in words a team lead reads. Words never claim more than the interval behind them shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from densedpo.report.results_page import finding
from densedpo.report.words import listed, percent

Cell = Mapping[str, Any] | None  # {mean, low, high, n}
Said = Literal["better", "worse", "unclear", "unknown", "kept", "not shown"]
PREFERRED = "motion_strength"  # a continuous amount of motion; degrees of it hide much behind a threshold


@dataclass(frozen=True)
class Finding:
    """One metric of one contestant against the baseline.

    `base` and `own` are `{mean, low, high, n}` over prompts, `difference` the paired one, each None where nothing was
    measured. `ratio` is the share of the base's motion, for an amount of motion alone.
    """

    metric: str
    title: str
    said: Said
    base: Cell
    own: Cell
    difference: Cell
    ratio: float | None = None
    margin: float | None = None

    @property
    def word(self) -> str:
        """What a table says of it."""
        if self.margin is None:
            return {"unclear": "no clear change", "unknown": "not measured"}.get(self.said, self.said)
        found = "keeps" if self.said == "kept" else "not shown to keep"
        return f"{percent(self.ratio)}: {found} at least {percent(1 - self.margin)} of the motion"


def findings(results: Mapping[str, Any], other: str) -> list[Finding]:
    """Every metric that has a better direction, and one amount of motion: what the contestant did to it.

    `better` and `worse` are said by the rule of the results page.
    """
    described, differences = results["metrics"], results["differences"].get(other, {})
    found = [
        Finding(name, about["title"], _said(about, differences.get(name)), *_means(results, other, name))
        for name, about in described.items()
        if about["better"] != "neither"
    ]
    kept = results["motion_kept"].get(other, {})
    name = PREFERRED if PREFERRED in kept else next(iter(kept), None)
    if name is not None:
        said: Said = "kept" if kept[name]["holds"] else "not shown"
        ratio, margin = kept[name]["ratio"], kept[name]["margin"]
        found.append(Finding(name, described[name]["title"], said, *_means(results, other, name), ratio, margin))
    return found


def verdict(results: Mapping[str, Any], other: str) -> str:
    """One sentence over all findings of one contestant."""
    titles: dict[Said, list[str]] = {}
    for found in findings(results, other):
        titles.setdefault(found.said, []).append(inside(found.title))
    clauses = [f"is {said} in {listed(titles[said])}" for said in ("better", "worse") if said in titles]
    if "kept" in titles:
        clauses.append("keeps its motion")
    lost = "has not been shown to keep its motion" if "not shown" in titles else ""
    rest = f"; no clear change in {listed(titles['unclear'])}" if "unclear" in titles else ""
    if clauses:
        return f"“{other}” {listed(clauses)}{', and ' if lost else ''}{lost}{rest}."
    if lost:
        return f"“{other}” {lost}{rest}."
    return f"No clear difference between “{other}” and “{results['baseline']}”."


def _said(about: Mapping[str, Any], difference: Mapping[str, Any] | None) -> Said:
    if difference is None or difference["low"] is None:
        return "unknown"
    said = finding(about["better"], difference)
    return "better" if said == "better" else "worse" if said == "worse" else "unclear"


def _means(results: Mapping[str, Any], other: str, name: str) -> tuple[Cell, Cell, Cell]:
    table = results["table"]
    base, own = table.get(results["baseline"], {}).get(name), table.get(other, {}).get(name)
    return base, own, results["differences"].get(other, {}).get(name)


def inside(title: str) -> str:
    """A title inside a sentence: `Visual quality (tiny world)` becomes `visual quality`, `VBench …` stays."""
    title = title.partition(" (")[0]
    return title[0].lower() + title[1:] if title[1:2].islower() else title
