"""The contract of a metric.

A metric is one file of this folder whose `METRICS` holds its instances; nothing else has to be edited for a new one.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from densedpo.judges.scorers.protocol import DeclinedError
from densedpo.metrics.footage import Footage
from densedpo.metrics.tools import Need, Tools

Better = Literal["higher", "lower", "neither"]
Aspect = Literal["motion", "consistency", "quality", "text"]

EXTRAS = {
    "cv2": "OpenCV, install it with: pip install 'densedpo[eval]'",
    "torch": "PyTorch, install it with: pip install 'densedpo[train]'",
    "transformers": "transformers, install it with: pip install 'densedpo[train]'",
    "torchvision": "torchvision, install it with: pip install torchvision",
}


# Why one clip has no value of a metric, said to users. It gets no score, and never a zero instead.
UnmeasurableError = DeclinedError


@dataclass(frozen=True)
class Asked:
    """What is known of the clips before any is looked at: their captions (None: unknown), and what they come with."""

    captions: Sequence[str | None] = ()
    references: bool = True
    partners: bool = True


class Metric(ABC):
    """One number about one clip.

    `name` is its key in files, `low` and `high` its range (infinity where it has no end), `better` its direction
    (`neither`: more is not better), `aspect` what it speaks of, `amount` whether it is an amount of motion, which a
    tuned model should keep, `source` the definition it follows, `blind_spot` what it misses or rewards wrongly,
    `packages` and `needs` what it cannot run without. `version` changes when a clip's value may: then all are measured
    anew.
    """

    name: str
    title: str
    aspect: Aspect
    low: float
    high: float
    better: Better
    source: str
    blind_spot: str
    amount: bool = False
    version: str = ""
    packages: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        """Why it cannot run here, or on any of these clips, and how to enable it, one line; None if it can."""
        lacking = [EXTRAS[name] for name in self.packages if importlib.util.find_spec(name) is None]
        lacking += [need.remedy for need in self.needs if tools.path(need) is None]
        return f"needs {'; and '.join(lacking)}" if lacking else None

    @abstractmethod
    def measure(self, clip: Footage, tools: Tools) -> float:
        """The value, within `low` and `high`. Raises UnmeasurableError if this clip has none."""
