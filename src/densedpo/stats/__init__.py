"""Intervals and paired differences: numbers that say how sure they are. No torch."""

from densedpo.stats.intervals import (
    Interval,
    bootstrap_interval,
    group_means,
    mean_interval,
    paired_difference,
    proportion_interval,
)

__all__ = [
    "Interval",
    "bootstrap_interval",
    "group_means",
    "mean_interval",
    "paired_difference",
    "proportion_interval",
]
