"""Scorers: a number for a stretch of one video. One file each; a file with a `SCORER` is a scorer by that name.

`external.py` asks a learned reward model in an environment of its own.
"""

import importlib
import pkgutil

from densedpo.errors import UserError
from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer, Scorer, ScorerError, Shown

__all__ = [
    "About",
    "DeclinedError",
    "PixelScorer",
    "Scorer",
    "ScorerError",
    "Shown",
    "find_scorer",
    "find_scorers",
]


def find_scorers() -> dict[str, PixelScorer]:
    """Every scorer that needs no weights, by name."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = [module.SCORER for module in modules if hasattr(module, "SCORER")]
    return {scorer.about.name: scorer for scorer in found}


def find_scorer(name: str) -> PixelScorer:
    """The scorer of that name. Raises UserError naming those there are."""
    known = find_scorers()
    if name not in known:
        raise UserError(
            f"there is no scorer {name}; choose {', '.join(known)}, or say how to reach your own with --command or "
            "--server"
        )
    return known[name]
