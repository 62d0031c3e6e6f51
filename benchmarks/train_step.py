"""How near a training step is to what the hardware asks for, and to what others do. All in one run, interleaved.

    python benchmarks/train_step.py [--batch 8] [--repeats 9]

On the tiny model, with a project of random latents. *Floor*: the same denoiser with its adapter called bare, forward
and backward on both members at once, and without adapter and gradient on the same. *Four forwards*: policy and
reference on a and on b, one by one. *Second copy*: the reference is another instance of the denoiser.

Ratios are medians over rounds, by the clock and by seconds of CPU, which other work on the machine touches less.
*Waiting*: the share of a run's steps that is spent on batches that are not there yet, though they are read ahead.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.losses.common import PairErrors
from densedpo.losses.dense_dpo import dense_dpo
from densedpo.models import load_model
from densedpo.models.encoded import encode_prompts, save_tensors
from densedpo.models.lora import adapter_off, fresh_adapter
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Label, Pair, recipe_id
from densedpo.tinyworld import world
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset, slots_of
from densedpo.training.errors import Inputs, frame_errors
from densedpo.training.loop import _prefetched
from densedpo.training.objective import frame_preferences
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable
from densedpo.training.selection import load_dataset
from densedpo.training.step import Engine, accumulate


def make_project(root: Path, pairs: int) -> Project:
    """Labelled guided pairs of random latents."""
    project = Project.create(root, ProjectSettings())
    model = load_model(project.settings.model)
    shape, settings = model.latent_shape(world.FRAMES, world.SIZE, world.SIZE), project.settings
    for number in range(pairs):
        file = project.cache_folder("making") / "pair.safetensors"
        save_tensors(file, {side: noise(shape, number, side) for side in ("a", "b")})
        recipe = {"benchmark": number}
        pair = Pair(
            id=recipe_id(recipe), recipe=recipe, clip=None, prompt=world.draw_scene(0, number).attributes.caption,
            mode="guided", split="train", frames=settings.frames, fps=settings.fps, width=settings.width,
            height=settings.height, eta=0.7, model_hash=model.model_hash, vae_hash=model.vae_hash,
            media_a=f"{2 * number:064x}", media_b=f"{2 * number + 1:064x}", latents=project.adopt(file, "latents"),
            distance=1.0, near_identical=False,
        )  # fmt: skip
        project.add_pairs([pair])
        project.add_labels(
            Label.make(
                pair=pair.id, segment=s, segment_seconds=1.0, choice="ab"[(number + s) % 2], seen="s",
                annotator_kind="human", annotator="someone",
            )
            for s in range(4)
        )  # fmt: skip
    return project


class Bench:
    """The contenders, each a function that does one step's work and leaves gradients behind."""

    def __init__(self, project: Project, batch: int) -> None:
        self.model = load_model(project.settings.model)
        self.settings = TrainSettings(batch=batch, rank=16, reference_draws=1)
        self.data: Dataset = load_dataset(project, self.model, self.settings)
        encode_prompts(project, self.model, self.data.unencoded)
        alone = Processes(torch.device("cpu"))
        self.plain = Engine(project, self.model, self.settings, None, alone)
        table = ReferenceTable(project, self.model, self.settings)
        self.tabled = Engine(project, self.model, self.settings, table, alone)
        self.step = 0
        self.second = copy.deepcopy(self.model.denoiser)

    def ours(self, engine: Engine) -> Callable[[], Any]:
        return lambda: accumulate(engine, engine.load(slots_of(self.data, self.step, self.settings)))

    def prepared(self) -> tuple[Any, Inputs]:
        (batch,) = self.plain.load(slots_of(self.data, self.step, self.settings))
        return batch, self.plain.inputs(batch, self.plain.sigmas(batch))

    def _error(self, inputs: Inputs, denoiser: Any = None) -> Tensor:
        own = self.model.denoiser
        self.model.denoiser = denoiser or own
        try:
            out = self.model.predict(inputs.noisy_NCFHW, inputs.sigma_N, inputs.conditioning)
        finally:
            self.model.denoiser = own
        return frame_errors(out - inputs.target_NCFHW)

    def floor(self, inputs: Inputs) -> None:
        """Nothing but the denoiser's work."""
        with torch.no_grad(), adapter_off(self.model.denoiser):
            self.model.predict(inputs.noisy_NCFHW, inputs.sigma_N, inputs.conditioning)
        self._error(inputs).sum().backward()

    def apart(self, batch: Any, inputs: Inputs, second_copy: bool) -> None:
        """Four separate forwards; the reference by switching the adapter off, or by a second copy."""
        count = len(batch.slots)
        errors = []
        for first in (0, count):
            part = inputs.take(range(first, first + count))
            if second_copy:
                with torch.no_grad():
                    reference = self._error(part, self.second)
            else:
                with torch.no_grad(), adapter_off(self.model.denoiser):
                    reference = self._error(part)
            errors.append((self._error(part), reference))
        (a, reference_a), (b, reference_b) = errors
        sign, size = frame_preferences(batch, batch.frames_SF, self.settings)
        out = dense_dpo(PairErrors(a, b, reference_a, reference_b), sign, size, 500.0)
        (out.loss_sum.sum() / out.weight.sum()).backward()


def kept_for_backward(work: Callable[[], Any]) -> int:
    """Most bytes held for the backward pass at once, weights not counted."""
    held = peak = 0

    class Holder:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, peak
            self.tensor = tensor
            self.size = 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
            held += self.size
            peak = max(peak, held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Holder, lambda holder: holder.tensor):
        work()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project", 2 * args.batch)
        bench = Bench(project, args.batch)
        with fresh_adapter(bench.model.denoiser, bench.model.lora_targets, 16, 16.0, 0) as parameters:
            measure(bench, parameters, args.repeats)


def waited(bench: Bench, engine: Engine, steps: int) -> float:
    """The share of these steps that the training loop's reader makes them wait."""
    waiting = began = 0.0
    reader = _prefetched(engine, bench.data, 0)
    for step in range(steps + 1):
        asked = time.perf_counter()
        _, batches = next(reader)
        if step:  # nothing was computed yet while the first was read
            waiting += time.perf_counter() - asked
        else:
            began = time.perf_counter()
        accumulate(engine, batches)
    share = waiting / (time.perf_counter() - began)
    reader.close()
    return share


def measure(bench: Bench, parameters: list[torch.nn.Parameter], repeats: int) -> None:
    for bench.step in range(2):  # fills the table
        bench.ours(bench.tabled)()
    seconds: dict[str, list[tuple[float, float]]] = {}
    for bench.step in range(repeats + 1):
        batch, inputs = bench.prepared()
        contenders: dict[str, Callable[[], Any]] = {
            "floor": lambda inputs=inputs: bench.floor(inputs),
            "ours": bench.ours(bench.plain),
            "ours, table": bench.ours(bench.tabled),
            "four forwards": lambda batch=batch, inputs=inputs: bench.apart(batch, inputs, second_copy=False),
            "second copy": lambda batch=batch, inputs=inputs: bench.apart(batch, inputs, second_copy=True),
            "reading a batch": lambda: bench.plain.load(slots_of(bench.data, bench.step, bench.settings)),
        }
        for name, work in contenders.items():
            for parameter in parameters:
                parameter.grad = None
            began = time.perf_counter(), time.process_time()
            work()
            if bench.step:  # the first round warms up
                spent = time.perf_counter() - began[0], time.process_time() - began[1]
                seconds.setdefault(name, []).append(spent)
    for name, rounds in seconds.items():
        clock, cpu = (1000 * statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"{name:16} {clock:8.1f} ms, {cpu:8.1f} ms of CPU")

    def tell(name: str, other: str, bound: float) -> None:
        """The medians of the rounds' ratios."""
        ratios = [
            [x / y for x, y in zip(*each, strict=True)] for each in zip(seconds[name], seconds[other], strict=True)
        ]
        clock, cpu = map(statistics.median, zip(*ratios, strict=True))
        print(f"{name + ' / ' + other:32} {clock:.3f}, {cpu:.3f} of CPU  (at most {bound:.2f})")

    tell("ours", "floor", 1.05)
    tell("ours, table", "ours", 0.80)
    for other in ("four forwards", "second copy"):
        tell("ours", other, 1.02)
        tell("ours, table", other, 0.85)
    copied = sum(p.nbytes for p in bench.second.parameters())
    print(f"memory of the second copy         {copied / 2**20:.1f} MiB")
    for name, engine in (("ours", bench.plain), ("ours, table", bench.tabled)):
        print(f"waiting for batches, {name:12} {waited(bench, engine, repeats):.4f}  (under 0.02 of the steps)")
    one = kept_for_backward(bench.ours(bench.plain))
    twice = Engine(**{**vars(bench.plain), "settings": bench.settings.model_copy(update={"two_pass": True})})
    two = kept_for_backward(bench.ours(twice))
    print(f"kept for backward, two passes / one  {two / one:.3f}  (at most 0.60; {one / 2**20:.0f} MiB in one)")


if __name__ == "__main__":
    main()
