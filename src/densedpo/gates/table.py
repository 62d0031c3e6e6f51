"""One line of the gate table, and the table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from densedpo.gates.statistics import Estimate


@dataclass(frozen=True)
class Gate:
    """A measured value and its bounds; without bounds it is only reported. `n` counts what `of` names."""

    name: str
    estimate: Estimate
    n: int
    of: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def held(self) -> bool | None:
        """Whether the value lies within the bounds, which belong to them; None without bounds, False if unknown."""
        if math.isinf(self.low) and math.isinf(self.high):
            return None
        return self.low <= self.estimate.value <= self.high

    @property
    def bound(self) -> str:
        """The bounds in words."""
        if self.held is None:
            return ""
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"

    def row(self) -> dict[str, object]:
        """For JSON; null is unknown."""
        estimate = self.estimate
        numbers = {"value": estimate.value, "error": estimate.error, "low": estimate.low, "high": estimate.high}
        known = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return {"name": self.name, "bound": self.bound, **known, "n": self.n, "of": self.of, "held": self.held}


def gate_table(gates: Sequence[Gate], title: str) -> Table:
    """The gates with their bounds, then what is only reported."""
    table = Table("gate", "bound", title=title, title_justify="left")
    for heading in ("value", "standard error", "95% interval", "n"):
        table.add_column(heading, justify="right")
    table.add_column("held")
    for gate in sorted(gates, key=lambda gate: gate.held is None):
        estimate, held = gate.estimate, {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[gate.held]
        interval = f"{estimate.low:.3g} to {estimate.high:.3g}" if math.isfinite(estimate.low) else ""
        error = f"{estimate.error:.3g}" if math.isfinite(estimate.error) else ""
        table.add_row(gate.name, gate.bound, f"{estimate.value:.3g}", error, interval, f"{gate.n} {gate.of}", held)
    return table
