"""The adapters that a training run left at its checkpoints, as folders that load like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from densedpo.config import read_yaml
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.models.lora import (
    PREFIX,
    WEIGHTS,
    adapter_state,
    fresh_adapter,
    restore_adapter_state,
    save_adapter,
)

STATE = "state.pt"


def find_checkpoints(run: Path, chosen: Sequence[str]) -> dict[int, Path]:
    """Step → file, in order of steps: `state.pt` of a checkpoint, or the weights of the finished adapter.

    `chosen` is `all`, `last:N`, or steps. Raises UserError for a folder that is no training run, a step that it does
    not have, or no checkpoint at all.
    """
    described = run / "run.json"
    facts = json.loads(described.read_text("utf-8")) if described.exists() else {}
    if facts.get("kind") != "training":
        known = sorted(file.parent.parent.name for file in run.parent.glob(f"*/adapter/{WEIGHTS}"))
        raise UserError(f"there is no training run named {run.name!r}; finished ones: {', '.join(known) or 'none'}")
    found = {int(file.parent.name.removeprefix("step-")): file for file in run.glob(f"checkpoints/step-*/{STATE}")}
    finished = run / "adapter" / WEIGHTS
    if facts.get("status") == "done" and finished.exists():
        found[int(read_yaml(run / "settings.yaml")["steps"])] = finished
    if not found:
        raise UserError(f"{run} has no checkpoint yet; let `densedpo train` run until it has one")
    steps = sorted(found)
    if chosen[0].startswith("last:"):
        steps = steps[-int(chosen[0].removeprefix("last:")) :]
    elif chosen[0] != "all":
        lacking = [each for each in chosen if int(each) not in found]
        if lacking:
            raise UserError(
                f"{run} keeps no checkpoint of step {', '.join(lacking)}, but of {', '.join(map(str, steps))}; "
                "`densedpo train --keep` says how many are kept"
            )
        steps = sorted({int(each) for each in chosen})
    return {step: found[step] for step in steps}


def keep_adapter(model: VideoModel, run: Path, source: Path, folder: Path) -> None:
    """Write the adapter in `source`, of the training run `run`, into `folder`, if it is not there.

    Raises UserError for a damaged checkpoint, or one of another model or expert.
    """
    state = _read(source)
    if (folder / WEIGHTS).exists():
        there = _without_prefix(load_file(folder / WEIGHTS))
        if there.keys() == state.keys() and all(torch.equal(there[name], each) for name, each in state.items()):
            return
    trained = json.loads((run / "run.json").read_text("utf-8")).get("expert")
    if trained != getattr(model.denoiser, "expert", None):
        raise UserError(f"{run} trained the {trained}-noise expert: load the model with --expert {trained}")
    settings = read_yaml(run / "settings.yaml")
    rank, alpha = settings["rank"], settings["rank"] if settings["alpha"] is None else settings["alpha"]
    with fresh_adapter(model.denoiser, model.lora_targets, rank, alpha, seed=0):
        fresh = adapter_state(model.denoiser)
        if {name: each.shape for name, each in state.items()} != {name: each.shape for name, each in fresh.items()}:
            raise UserError(f"{source} was trained on another model than {model.name}: give the project its own model")
        restore_adapter_state(model.denoiser, state)
        save_adapter(model.denoiser, folder, {"densedpo_run": run.name})


def _read(file: Path) -> dict[str, Tensor]:
    """The adapter's weights by PEFT's names."""
    if file.name == WEIGHTS:
        return _without_prefix(load_file(file))
    try:
        state: dict[str, Tensor] = torch.load(file, weights_only=True, mmap=True)["adapter"]
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise UserError(f"{file} is damaged ({type(error).__name__}); choose others with --checkpoints") from error
    return state


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): each for name, each in weights.items()}
