"""What is exported: a finished run, its adapter, and the base model it belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors import safe_open

from densedpo.config import read_yaml
from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.models.card import INDEX, Base
from densedpo.models.load import model_folder
from densedpo.models.lora import EXPERT, PREFIX, WEIGHTS
from densedpo.store.project import Project


@dataclass(frozen=True)
class Source:
    """A finished run: what `run.json` and `settings.yaml` say, and its adapter with its header."""

    project: Project
    name: str
    facts: dict[str, Any]
    settings: dict[str, Any]
    adapter: Path
    header: dict[str, str]
    base: Base

    @classmethod
    def open(cls, project: Project, name: str) -> Source:
        """Read a run.

        Raises:
            UserError: there is no such training run, it is not finished, or its base model's index cannot be had.
        """
        described = {file.parent.name: json.loads(file.read_text()) for file in project.root.glob("runs/*/run.json")}
        runs = {run: facts for run, facts in described.items() if facts["kind"] == "training"}
        if name not in runs:
            known = ", ".join(sorted(runs)) or "none"
            raise UserError(f"{project.root} has no training run named {name!r}; it has: {known}")
        folder = project.run_folder(name)
        adapter = folder / "adapter" / WEIGHTS
        if runs[name]["status"] != "done" or not adapter.exists():
            raise UserError(f"training run {name!r} is not finished: run its `densedpo train` command again")
        with safe_open(adapter, framework="pt") as file:
            header = dict(file.metadata())
        return cls(
            project,
            name,
            runs[name],
            read_yaml(folder / "settings.yaml"),
            adapter,
            header,
            base_of(project, runs[name]),
        )

    @property
    def rank(self) -> int:
        return int(self._peft("r"))

    @property
    def alpha(self) -> float:
        return float(self._peft("lora_alpha"))

    @property
    def expert(self) -> str | None:
        """Of a base model with two experts, the one that the adapter is for."""
        return self.header.get(EXPERT)

    @property
    def title(self) -> str:
        return f"{self.project.root.resolve().name} {self.name}"

    def metadata(self) -> dict[str, str]:
        """The header of every exported file: the run's own, and what a reader without the project cannot know."""
        facts = {
            "base_model": self.base.hub_id or self.base.name,
            "rank": self.rank,
            "alpha": self.alpha,
            "run": self.name,
            "version": self.facts["versions"]["densedpo"],
            "adapter": file_digest(self.adapter),
        }
        added = {f"densedpo_{key}": str(value) for key, value in facts.items()}
        return self.header | added | {"modelspec.title": self.title}

    def _peft(self, key: str) -> Any:
        return json.loads(self.header[LORA_ADAPTER_METADATA_KEY])[PREFIX + key]


def base_of(project: Project, facts: dict[str, Any]) -> Base:
    """The base model of a run.

    Raises:
        UserError: its folder is gone, or the hub cannot be asked what it is.
    """
    model = project.settings.model
    return Base.of(model, model_folder(model, hub_files=(INDEX, "README.md")), facts["base_model"])
