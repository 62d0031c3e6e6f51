"""The training loop: draw → errors → loss → backward → clip, step → log → guard → checkpoint."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from densedpo.chunks import chunks
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.models.encoded import encode_prompts
from densedpo.models.lora import (
    WEIGHTS,
    adapter_state,
    fresh_adapter,
    load_reference,
    restore_adapter_state,
    save_adapter,
    start_from,
)
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.shapes import like_batches
from densedpo.training import checkpoint
from densedpo.training.blocks import compiled, share_videos, spread
from densedpo.training.data import Batch, Dataset, Slot, load_batch, slots_of
from densedpo.training.log import Log
from densedpo.training.papers import draw_curves, write_papers
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable
from densedpo.training.run import adapter_header, begin_run, finish_run
from densedpo.training.samples import Samples
from densedpo.training.selection import load_dataset
from densedpo.training.settings import TrainSettings
from densedpo.training.step import Engine, accumulate, validation_loss
from densedpo.training.trackers import wanted

MOST_VALIDATED = 256  # pairs, the first in id order: ids are hashes, so this is as good as a draw
CHECKED = 8  # entries of the reference table, computed again at the start


@dataclass(frozen=True)
class TrainReport:
    """What a finished run is. Reference forwards are counted in examples, since this call began."""

    run: Path
    adapter: Path
    pairs: int
    steps: int
    seconds: float
    alarms: int
    reference_forwards: int
    reference_forwards_saved: int


def train(
    project: Project, model: VideoModel, settings: TrainSettings, name: str, dataset: Dataset | None = None
) -> TrainReport:
    """Train a LoRA adapter into `runs/NAME`; stopped and called again, it goes on where it was, bit for bit.

    `dataset` is what `load_dataset` made of these very arguments, if the caller has it already.

    Raises:
        UserError: nothing to train on; the run exists with other settings or other data; an adapter to start from does
            not fit; the reference table has drifted; the loss is no number; the guard stops; the disk is full.
    """
    wanted(settings)
    if model.dtype == torch.float16:
        raise UserError(
            f"{model.name} is loaded in float16, in which most gradients vanish: train with --dtype bfloat16 or float32"
        )
    device = next(model.denoiser.parameters()).device
    processes = Processes(device, settings.sharding == "full", settings.context_parallel)
    with project.lock(f"train-{name}") if processes.first else nullcontext():
        dataset = dataset or load_dataset(project, model, settings)
        validation = load_dataset(project, model, settings, "validation") if settings.validate_every else None
        run = processes.first_first(lambda: begin_run(project, model, dataset, settings, name))
        prompts = [*dataset.unencoded, *(validation.unencoded if validation else ())]
        processes.first_first(lambda: encode_prompts(project, model, prompts))
        clips = processes.first_first(lambda: Samples(project, model, settings, run)) if settings.sample_every else None
        with denoiser_to_train(dataset, processes) as parameters:
            optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
            first, seconds = processes.first_first(lambda: _resume(run, model, optimiser))
            _check_together(processes.gather(first), run)
            engine = engine_for(dataset, processes)
            with Log(run, settings, 0.5 * dataset.beta_mean, first, processes.first) as log:
                if clips:
                    clips.after(first, log, processes)
                for step, batches in track(
                    _prefetched(engine, dataset, first), settings.steps - first, f"training {name}"
                ):
                    began = time.monotonic()
                    with memory_is_clear("a training step"):
                        row = {"step": step + 1} | _step(engine, batches, optimiser, parameters, step)
                        if validation and (step + 1) % (settings.validate_every or 1) == 0:
                            row["validation_loss"] = _validate(engine, validation)
                    row["seconds"] = time.monotonic() - began
                    seconds += row["seconds"]
                    log.write(row)
                    if processes.first and ((step + 1) % settings.save_every == 0 or step + 1 == settings.steps):
                        checkpoint.save(run, step + 1, _state(model, optimiser, step + 1, seconds), settings.keep)
                        draw_curves(run)
                    if clips:
                        clips.after(step + 1, log, processes)
            if processes.first:
                save_adapter(model.denoiser, run / "adapter", adapter_header(run))
                finish_run(run, seconds)
                write_papers(project, model, settings, run)
            processes.wait()
    used, computed = (engine.table.used, engine.table.computed) if engine.table else (0, 0)
    adapter = run / "adapter" / WEIGHTS
    return TrainReport(run, adapter, len(dataset), settings.steps, seconds, log.alarms, computed, used - computed)


@contextmanager
def denoiser_to_train(dataset: Dataset, processes: Processes) -> Iterator[list[torch.nn.Parameter]]:
    """The denoiser with its adapters, set up as asked; as it was, afterwards, unless processes share it.

    Yields what is trained.
    """
    model, settings = dataset.model, dataset.settings
    denoiser: Any = model.denoiser
    alpha = settings.rank if settings.alpha is None else settings.alpha
    with fresh_adapter(denoiser, model.lora_targets, settings.rank, alpha, settings.seed) as parameters:
        if settings.init_adapter is not None:
            start_from(denoiser, settings.init_adapter)
        if settings.reference_adapter is not None:
            load_reference(denoiser, settings.reference_adapter)
        if settings.checkpointing:
            denoiser.enable_gradient_checkpointing()
        try:
            with compiled(denoiser) if settings.compile else nullcontext():
                if processes.share_videos:
                    share_videos(denoiser, processes.count, *dataset.latent_shapes.values())
                if processes.sharded:
                    _spread(denoiser, processes)
                yield parameters
        finally:
            if settings.checkpointing:
                denoiser.disable_gradient_checkpointing()


def _spread(denoiser: torch.nn.Module, processes: Processes) -> None:
    held, whole = spread(denoiser, processes.device, processes.count)
    if processes.first:
        share = f"{held / 2**20:.1f} of the {whole / 2**20:.1f} MiB"
        print(f"each process holds {share} of frozen weights", file=sys.stderr)


def engine_for(dataset: Dataset, processes: Processes) -> Engine:
    """The engine; its reference table, if there is one, has been checked against the reference."""
    project, model, settings = dataset.project, dataset.model, dataset.settings
    table = ReferenceTable(project, model, settings) if settings.reference_draws and settings.method != "sft" else None
    engine = Engine(project, model, settings, table, processes)
    if table is not None:
        first = slots_of(dataset, 0, settings)[:CHECKED]
        for batch in map(load_batch, like_batches(first, lambda slot: slot.example.shape, CHECKED)):
            inputs = engine.inputs(batch, engine.sigmas(batch))
            table.check(model, batch.slots, inputs, 0.5 * engine.beta_mean(batch), settings, processes)
    return engine


def _prefetched(engine: Engine, dataset: Dataset, first: int) -> Iterator[tuple[int, list[Batch]]]:
    """Each step and its batches; the next step's are read while this one computes."""
    settings = engine.settings
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(lambda: engine.load(slots_of(dataset, first, settings)))
        for step in range(first, settings.steps):
            batches = coming.result()
            if step + 1 < settings.steps:
                coming = reader.submit(lambda step=step: engine.load(slots_of(dataset, step + 1, settings)))  # type: ignore[misc]
            yield step, batches


def _step(
    engine: Engine,
    batches: Sequence[Batch],
    optimiser: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    step: int,
) -> dict[str, Any]:
    """One optimiser step."""
    settings = engine.settings
    share, seen = accumulate(engine, batches)
    loss, (measured, *others) = engine.processes.sum(share), engine.processes.gather(seen)
    engine.processes.sum_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm).item()
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(
            f"step {step + 1}: the loss is {loss} and the gradient's norm {norm}, so this step was not taken; the "
            "newest checkpoint is sound. Look for damaged latents (`densedpo validate`), or start anew with a smaller "
            "--lr or without --autocast"
        )
    rate = settings.lr * min(1.0, (step + 1) / max(settings.warmup, 1))
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {"loss": loss, **measured.joined(others).summary(), "grad_norm": norm, "lr": rate}


def _validate(engine: Engine, dataset: Dataset) -> float:
    """The loss on the validation split; every pair has one fixed draw, spread evenly over the noise levels."""
    count = min(len(dataset), MOST_VALIDATED)
    examples = dataset.examples(range(count))
    slots = [Slot(i, e, ("validation", e.id), (i, count)) for i, e in enumerate(examples)]
    parts = chunks(slots, engine.settings.micro_batch or engine.settings.batch)
    return validation_loss(engine, [batch for part in parts for batch in engine.load(part)])


def _state(model: VideoModel, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": seconds,
        "adapter": adapter_state(model.denoiser),
        "optimiser": optimiser.state_dict(),
    }


def _check_together(firsts: Sequence[int], run: Path) -> None:
    if len(set(firsts)) > 1:
        raise UserError(
            f"the processes would go on from different steps ({', '.join(map(str, firsts))}, by rank): "
            f"put the project with {run} on a disk that all machines see"
        )


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
