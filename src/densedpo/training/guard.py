"""The guard: known ways in which preference training goes wrong, seen in the log, each with what to try.

It looks at the last rows of the log and at nothing else, so a resumed run is watched as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WINDOW = 20  # steps


@dataclass(frozen=True)
class Alarm:
    """One thing that goes wrong."""

    name: str
    saw: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.saw}. Try {self.remedy}."


def new_alarms(rows: Sequence[dict[str, Any]], k: float) -> list[Alarm]:
    """What is wrong after the last of these steps and was not before it.

    Args:
        rows: the log's, at least the last `WINDOW` + 1 if there are so many.
        k: what multiplies errors in the argument of the sigmoid.
    """
    before = {alarm.name for alarm in _standing(rows[:-1][-WINDOW:], k)}
    return [alarm for alarm in _standing(rows[-WINDOW:], k) if alarm.name not in before]


def _standing(rows: Sequence[dict[str, Any]], k: float) -> list[Alarm]:
    if len(rows) < WINDOW or "inside_median" not in rows[-1]:
        return []
    mean = {name: sum(row[name] for row in rows) / len(rows) for name in _NAMES}
    alarms = []
    if mean["winner_delta"] * k > 0.1 and mean["loser_delta"] > mean["winner_delta"]:
        alarms.append(
            Alarm(
                "displacement",
                f"over {WINDOW} steps the winners' error rose too, by {mean['winner_delta']:.2g} (the losers' by "
                f"{mean['loser_delta']:.2g}): the model unlearns what both videos share",
                "a smaller --lr, --anchor 10, --loss ipo, a larger --beta or --similar-below",
            )
        )
    if mean["pair_accuracy"] > 0.97 and mean["inside_median"] > 4:
        alarms.append(
            Alarm(
                "saturation",
                f"{mean['pair_accuracy']:.0%} of pairs are told apart with a median |inside| of "
                f"{mean['inside_median']:.1f}: there is hardly any gradient left, or the pairs give themselves away",
                "fewer --steps or a smaller --lr; look whether one side is always a real or another model's video",
            )
        )
    if mean["margin"] < -1:
        alarms.append(
            Alarm(
                "divergence",
                f"over {WINDOW} steps the model went against the labels: the mean argument of the sigmoid is "
                f"{mean['margin']:.2f}",
                "a smaller --lr, a longer --warmup or a smaller --clip-norm",
            )
        )
    return alarms


_NAMES = ("margin", "winner_delta", "loser_delta", "pair_accuracy", "inside_median")
