"""Every metric of this folder, and which of them can run."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping

import densedpo.metrics as room
from densedpo.errors import UserError
from densedpo.metrics.protocol import Asked, Metric
from densedpo.metrics.tools import Tools


def find_metrics() -> dict[str, Metric]:
    """Name → metric, over all files of this folder that have `METRICS`."""
    found = [each.name for each in pkgutil.iter_modules(room.__path__) if not each.ispkg]
    files = [importlib.import_module(f"{room.__name__}.{name}") for name in found]
    metrics: list[Metric] = [metric for file in files for metric in getattr(file, "METRICS", ())]
    assert len({metric.name for metric in metrics}) == len(metrics), "two metrics have the same name"
    return {metric.name: metric for metric in metrics}


def runnable(
    metrics: Mapping[str, Metric], names: Iterable[str] | None, tools: Tools, asked: Asked
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics that run, and for each other one why it does not and how to enable it.

    Raises UserError for an unknown name in `names` (None: all), and for weights that no metric knows.
    """
    wanted = list(metrics) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in metrics]
    if unknown:
        raise UserError(f"there is no metric {', '.join(unknown)}; the metrics are {', '.join(metrics)}")
    tools.check_names({need.name for metric in metrics.values() for need in metric.needs})
    reasons = {name: metrics[name].why_not(tools, asked) for name in wanted}
    not_run = {name: reason for name, reason in reasons.items() if reason is not None}
    return {name: metrics[name] for name in wanted if name not in not_run}, not_run
