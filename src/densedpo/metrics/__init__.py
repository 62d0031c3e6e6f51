"""Metrics of a clip: one file each, behind the contract in `protocol.py`. Importing loads neither torch nor OpenCV."""

from densedpo.metrics.find import find_metrics, runnable
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Metric, UnmeasurableError
from densedpo.metrics.tools import Need, Tools

__all__ = ["Asked", "Footage", "Metric", "Need", "Tools", "UnmeasurableError", "find_metrics", "runnable"]
