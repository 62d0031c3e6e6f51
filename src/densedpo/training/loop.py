"""The training loop: draw → pair errors → loss → backward → clip, step → log → checkpoint."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densedpo.chunks import chunks
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import VideoModel
from densedpo.files import write_text_atomic
from densedpo.models.encoded import conditioning
from densedpo.models.lora import adapter_state, fresh_adapter, restore_adapter_state, save_adapter
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.training import checkpoint
from densedpo.training.data import Dataset, Slot, batch_order, load_batch, load_dataset
from densedpo.training.errors import draw_noise, draw_sigma, pair_errors
from densedpo.training.objective import Measurements, frame_preferences, loss_of, total_weight
from densedpo.training.run import adapter_header, begin_run, finish_run
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainReport:
    """What a finished run is."""

    run: Path
    adapter: Path
    pairs: int
    steps: int
    seconds: float


def train(project: Project, model: VideoModel, settings: TrainSettings, name: str) -> TrainReport:
    """Train a LoRA adapter into `runs/NAME`; stopped and called again, it goes on where it was, bit for bit.

    Raises:
        UserError: nothing to train on; the run exists with other settings or other data; the disk is full.
    """
    with project.lock(f"train-{name}"):
        dataset = load_dataset(project, model.temporal_factor, settings)
        run = begin_run(project, model, dataset, settings, name)
        alpha = settings.rank if settings.alpha is None else settings.alpha
        with fresh_adapter(model.denoiser, model.lora_targets, settings.rank, alpha, settings.seed) as parameters:
            optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
            first, seconds = _resume(run, model, optimiser)
            with (run / "log.jsonl").open("a") as log:
                for step in track(range(first, settings.steps), description=f"training {name}"):
                    began = time.monotonic()
                    with memory_is_clear("a training step"):
                        row = _step(project, model, dataset, settings, optimiser, parameters, step)
                    row["seconds"] = time.monotonic() - began
                    seconds += row["seconds"]
                    print(json.dumps({"step": step + 1} | row), file=log, flush=True)
                    if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                        checkpoint.save(run, step + 1, _state(model, optimiser, step + 1, seconds), settings.keep)
            adapter = save_adapter(model.denoiser, run / "adapter", adapter_header(run))
        finish_run(run, seconds)
    return TrainReport(run, adapter, len(dataset.examples), settings.steps, seconds)


def _step(
    project: Project,
    model: VideoModel,
    dataset: Dataset,
    settings: TrainSettings,
    optimiser: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    step: int,
) -> dict[str, float]:
    """One optimiser step, micro-batch by micro-batch; the loss is divided by the whole batch's weight."""
    frames_SF = torch.tensor(dataset.frames_SF, dtype=torch.float32)
    order = batch_order(len(dataset.examples), settings.batch, step, settings.seed)
    slots = [Slot(place, dataset.examples[index]) for place, index in enumerate(order)]
    batches = [load_batch(project, part) for part in chunks(slots, settings.micro_batch or settings.batch)]
    whole = sum(total_weight(batch, frames_SF, settings) for batch in batches)
    measured, loss = Measurements(), 0.0
    for batch in batches:
        shape = tuple(batch.a_BCFHW.shape[1:])
        sigma_B = draw_sigma(batch.keys, shape, step, settings, model)
        noises = draw_noise(batch.keys, shape, step, settings)
        errors = pair_errors(model, batch, conditioning(project, model, batch.prompts), sigma_B, noises)
        output = loss_of(errors, batch, frames_SF, settings)
        share: Tensor = output.loss_sum.sum() / max(whole, 1e-12)
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.item()
        measured.add(errors, output, *frame_preferences(batch, frames_SF, settings))
    norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
    rate = settings.lr * min(1.0, (step + 1) / max(settings.warmup, 1))
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {"loss": loss, **measured.summary(), "grad_norm": norm.item(), "lr": rate}


def _state(model: VideoModel, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": seconds,
        "adapter": adapter_state(model.denoiser),
        "optimiser": optimiser.state_dict(),
    }


def _resume(run: Path, model: VideoModel, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the newest checkpoint, if any, and cut the log back to it; returns the next step and the seconds spent."""
    state = checkpoint.load_newest(run)
    done = 0 if state is None else int(state["step"])
    log = run / "log.jsonl"
    if log.exists():
        whole = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        write_text_atomic(log, "".join(line for line in whole if json.loads(line)["step"] <= done))
    if state is None:
        return 0, 0.0
    restore_adapter_state(model.denoiser, state["adapter"])
    optimiser.load_state_dict(state["optimiser"])
    return done, float(state["seconds"])
