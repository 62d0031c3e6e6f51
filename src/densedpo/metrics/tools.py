"""Weights that metrics need: where they are on this machine, and networks loaded once. Nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from densedpo.errors import UserError
from densedpo.files import file_digest

T = TypeVar("T")


@dataclass(frozen=True)
class Need:
    """Weights of one network: the `name` users give them by, what they are, and where caches would hold them.

    `hub` is a repository on the Hugging Face hub, looked up in its local cache; `cached` are files below a cache root:
    `torch` is PyTorch's hub checkpoints, `vbench` is VBench's own cache.
    """

    name: str
    what: str
    hub: str | None = None
    cached: tuple[tuple[str, str], ...] = ()

    @property
    def remedy(self) -> str:
        """How to make them available."""
        return f"{self.what}, give their place with: --weights {self.name}=PATH"


class Tools:
    """What metrics work with: places of weights, and loaded networks, which are kept."""

    def __init__(self, weights: Mapping[str, Path] | None = None) -> None:
        """`weights` names places that win over caches. Raises UserError for a place that does not exist."""
        self._given = dict(weights or {})
        self._made: dict[str, Any] = {}
        for name, place in self._given.items():
            if not place.exists():
                raise UserError(f"--weights {name}={place}: there is no such file or folder; check the path")

    def check_names(self, known: set[str]) -> None:
        """Raise UserError for weights that were given under a name that is not `known`."""
        unknown = [name for name in self._given if name not in known]
        if unknown:
            raise UserError(f"no metric uses weights named {', '.join(unknown)}; names are {', '.join(sorted(known))}")

    def path(self, need: Need) -> Path | None:
        """The file or folder, as given or from a local cache; None if it is nowhere."""
        if need.name in self._given:
            return self._given[need.name]
        files = [_roots()[root] / name for root, name in need.cached]
        return next((file for file in files if file.is_file()), _hub_folder(need.hub) if need.hub else None)

    def required(self, need: Need) -> Path:
        """As `path`, for a metric that was found able to run."""
        place = self.path(need)
        assert place is not None, f"{need.name} is missing, so the metric should not have been run"
        return place

    def digest(self, need: Need) -> str | None:
        """A digest of the weights' bytes; None if they are nowhere."""
        place = self.path(need)
        if place is None:
            return None
        files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        return self.once(f"digest {place}", lambda: " ".join(file_digest(file)[:16] for file in files))

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` returns, computed at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made


def _roots() -> dict[str, Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return {
        "torch": Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub" / "checkpoints",
        "vbench": Path(os.environ.get("VBENCH_CACHE_DIR", Path.home() / ".cache" / "vbench")),
    }


def _hub_folder(repository: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repository, "config.json")
    return Path(found).parent if isinstance(found, str) else None
