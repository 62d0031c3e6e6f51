"""A run's folder: what it was asked, what it read, which versions made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from densedpo.config import Settings, dump_settings, load_settings
from densedpo.diffusion.protocol import VideoModel, check_frame_rate
from densedpo.errors import UserError
from densedpo.files import file_digest, write_text_atomic
from densedpo.models.identity import versions
from densedpo.models.lora import WEIGHTS
from densedpo.store.project import Project
from densedpo.training.data import Dataset
from densedpo.training.settings import TrainSettings

# What a run may be continued with differently: none of it changes a step but in its last bits. More steps are a longer
# run.
FREE = {
    "steps",
    "save_every",
    "keep",
    "guard",
    "track",
    "validate_every",
    "sample_every",
    "sample_prompts",
    "micro_batch",
    "two_pass",
    "checkpointing",
    "compile",
    "sharding",
    "context_parallel",
}


def begin_run(project: Project, model: VideoModel, dataset: Dataset, settings: TrainSettings, name: str) -> Path:
    """Make the run's folder, or check that the one there is this run.

    Raises:
        UserError: the run was begun with other settings, another model, or other labels; or the pairs' latents are of
            another autoencoder.
    """
    check_frame_rate(model, project.settings.fps)
    foreign = dataset.foreign_latents
    if foreign:
        raise UserError(
            f"the latents of {foreign} pairs in {project.root} were made by another autoencoder than that of "
            f"{model.name} as it is loaded now; train the model that made them (with --tiled-vae if they were made "
            "with it), or make the pairs anew in a new project"
        )
    run = project.run_folder(name)
    facts = _facts(model, dataset, settings)
    described = run / "run.json"
    if described.exists():
        _check_same(run, settings, json.loads(described.read_text()), facts)
    write_text_atomic(run / "settings.yaml", dump_settings(settings))
    write_text_atomic(described, json.dumps(facts, indent=2) + "\n")
    return run


def adapter_header(run: Path) -> dict[str, str]:
    """What an adapter's file says of the run that made it."""
    facts = json.loads((run / "run.json").read_text())
    return {
        f"densedpo_{key}": str(facts[key]) for key in ("base_model", "base_model_hash", "method", "beta", "dataset")
    }


def finish_run(run: Path, seconds: float) -> None:
    """Mark the run done: its adapter is in place."""
    described = run / "run.json"
    facts = json.loads(described.read_text()) | {"status": "done", "seconds": seconds}
    write_text_atomic(described, json.dumps(facts, indent=2) + "\n")


def _facts(model: VideoModel, dataset: Dataset, settings: TrainSettings) -> dict[str, Any]:
    beta_mean = dataset.beta_mean
    adapters = {"init_adapter": settings.init_adapter, "reference_adapter": settings.reference_adapter}
    return {
        "kind": "training",
        "status": "begun",
        "base_model": model.name,
        "base_model_hash": model.model_hash,
        "expert": getattr(model.denoiser, "expert", None),
        "dtype": str(model.dtype).removeprefix("torch."),
        "method": settings.method,
        "beta": settings.beta,
        "beta_mean": beta_mean,
        "effective_k": 0.5 * beta_mean,  # -log sigmoid(-k Delta), errors as means over channels, height, width
        "dataset": dataset.fingerprint,
        "pairs": len(dataset),
        "shapes": [shape._asdict() | {"count": count} for shape, count in dataset.counts.items()],
        "left_out": dataset.left_out,
        "pairs_of_other_weights": dataset.foreign,
        **{name: file_digest(path / WEIGHTS) for name, path in adapters.items() if path and (path / WEIGHTS).exists()},
        "versions": versions(),
    }


def _check_same(run: Path, settings: Settings, there: dict[str, Any], here: dict[str, Any]) -> None:
    before = load_settings(TrainSettings, run / "settings.yaml", {}).model_dump()
    now = {name: value for name, value in settings.model_dump().items() if name not in FREE}
    changed = [f"{k} ({before[k]} then, {v} now)" for k, v in now.items() if before[k] != v]
    if settings.model_dump()["steps"] < before["steps"]:
        changed.append(f"steps ({before['steps']} then, {settings.model_dump()['steps']} now)")
    fixed = ("base_model_hash", "expert", "dtype", "dataset", "init_adapter", "reference_adapter")
    changed += [k for k in fixed if there.get(k) != here.get(k)]
    if changed:
        raise UserError(
            f"{run} was begun differently: {', '.join(changed)}; choose another --name, or delete that folder"
        )
