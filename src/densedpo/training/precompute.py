"""Fill the reference table ahead of training, in large batches without gradient; in parts, on several machines."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from densedpo.chunks import batched
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.models.encoded import encode_prompts
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.shapes import like_batches
from densedpo.training.data import Dataset, Slot, fixed_slot, load_batch
from densedpo.training.loop import denoiser_to_train, engine_for
from densedpo.training.processes import Processes
from densedpo.training.selection import load_dataset
from densedpo.training.settings import TrainSettings


def precompute(
    project: Project, model: VideoModel, settings: TrainSettings, part: int = 1, parts: int = 1
) -> tuple[int, int]:
    """Compute the entries that part number `part` of `parts` lacks; several processes may do so at once.

    Returns how many were computed and how many there were. Stopped and called again, it goes on.

    Raises:
        UserError: the settings ask for no fixed draws or no reference; nothing to train on; the table has drifted.
    """
    if settings.reference_draws is None or settings.method == "sft":
        raise UserError(
            "a reference table needs fixed draws: say how many a pair with --reference-draws (sft has none)"
        )
    if settings.sharding != "none" or settings.context_parallel:
        raise UserError(
            "`densedpo reference` uses one process a part: leave out --sharding and --context-parallel, and start it "
            "once a GPU with --part and --parts"
        )
    if not 1 <= part <= parts:
        raise UserError(f"there is no part {part} of {parts}: the first is 1, the last {parts}")
    dataset = load_dataset(project, model, settings)
    encode_prompts(project, model, dataset.unencoded)
    alone = Processes(torch.device("cpu"))
    with denoiser_to_train(dataset, alone):
        engine = engine_for(dataset, alone)
        assert engine.table is not None
        total = (len(dataset) * settings.reference_draws - part) // parts + 1
        batches = -(-total // settings.batch)
        for slots in track(batched(_slots(dataset, settings, part, parts), settings.batch), batches, "reference"):
            missing = [slot for slot, entry in zip(slots, engine.table.read(slots), strict=True) if entry is None]
            engine.table.used += len(slots) - len(missing)
            for alike in like_batches(missing, lambda slot: slot.example.shape, settings.batch):
                batch = load_batch(alike)
                with memory_is_clear("a batch of reference forwards"):
                    engine.reference(batch, engine.inputs(batch, engine.sigmas(batch)))
    return engine.table.computed, engine.table.used


def _slots(dataset: Dataset, settings: TrainSettings, part: int, parts: int) -> Iterator[Slot]:
    draws = settings.reference_draws or 1
    for numbers in batched(range(part - 1, len(dataset) * draws, parts), settings.batch):
        examples = dataset.examples([number % len(dataset) for number in numbers])
        for number, example in zip(numbers, examples, strict=True):
            yield fixed_slot(number, example, number // len(dataset), settings)
