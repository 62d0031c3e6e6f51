"""Training examples: a dataset as columns, the slots of a step, and batches of latents.

Shapes: B examples, C channels, F latent frames, S segments, H height, W width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, uncounted_frames
from densedpo.diffusion.seeds import Key, generator
from densedpo.models.encoded import latents_file
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, Split
from densedpo.store.shapes import Shape
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled pair; or, for sft, one video. Whole-video methods use the last two fields, dense the two before."""

    id: str  # of the pair or clip
    prompt: str
    file: Path  # of latents
    members: tuple[str, ...]  # names in that file: a and b; or one video
    sign_S: NDArray[np.float64]  # +1 a better, -1 b better, 0 tie or unlabelled
    weight_S: NDArray[np.float64]  # the label's confidence; 0 if unlabelled
    video_sign: int
    video_weight: float
    shape: Shape
    frames_SF: NDArray[np.float64]  # how its segments lie over its latent frames: columns sum to 1


@dataclass(frozen=True)
class Dataset:
    """What to learn from, in id order, N examples as columns; prompts and latents stay where they are.

    Examples may have several shapes. `grids` has each one's `frames_SF`; `shape_N` counts in its order. An example of
    fewer segments than another has zeros at the end.
    """

    project: Project
    model: VideoModel
    settings: TrainSettings
    split: Split
    id_N: NDArray[np.bytes_]
    sign_NS: NDArray[np.int8]
    weight_NS: NDArray[np.float32]
    video_sign_N: NDArray[np.int8]
    video_weight_N: NDArray[np.float32]
    shape_N: NDArray[np.int16]
    grids: dict[Shape, NDArray[np.float64]]
    etas: NDArray[np.float64]  # of guided pairs
    left_out: dict[str, int]  # reason → pairs
    foreign: int  # videos that other weights than the model's drew
    foreign_latents: int  # pairs whose latents another autoencoder made
    unencoded: tuple[str, ...]  # prompts that the cache lacked when this was read, each once
    fingerprint: str  # of everything that training reads from the project

    def __len__(self) -> int:
        return len(self.id_N)

    @property
    def clips(self) -> bool:
        """Whether the examples are real clips."""
        return self.settings.method == "sft" and self.settings.sft_on == "clips"

    @property
    def latent_shapes(self) -> dict[Shape, tuple[int, int, int, int]]:
        """`(C, F, H', W')` of every shape."""
        return {shape: self.model.latent_shape(shape.frames, shape.height, shape.width) for shape in self.grids}

    @property
    def counts(self) -> dict[Shape, int]:
        """Examples of every shape."""
        return dict(zip(self.grids, np.bincount(self.shape_N, minlength=len(self.grids)).tolist(), strict=True))

    @property
    def beta_mean(self) -> float:
        """beta in units of mean squared error: if it depends on the shape (given in sums), the mean over examples."""
        betas = {
            shape: self.settings.beta_mean((channels, frames - uncounted_frames(self.model), height, width))
            for shape, (channels, frames, height, width) in self.latent_shapes.items()
        }
        if len(set(betas.values())) == 1:
            return next(iter(betas.values()))
        return sum(betas[shape] * count for shape, count in self.counts.items()) / len(self)

    def examples(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these places."""
        ids = [self.id_N[index].decode() for index in indices]
        if self.clips:
            clips = self.project.by_id(Clip, set(ids))
            told = {i: (c.caption, latents_file(self.project, self.model, c)) for i, c in clips.items()}
        else:
            pairs = self.project.by_id(Pair, set(ids))
            told = {i: (p.prompt, self.project.latents_path(str(p.latents))) for i, p in pairs.items()}
        shapes = [*self.grids.items()]
        found = []
        for id, index in zip(ids, indices, strict=True):
            shape, frames_SF = shapes[self.shape_N[index]]
            found.append(
                Example(
                    id,
                    *told[id],
                    self._members(index),
                    self.sign_NS[index, : len(frames_SF)].astype(np.float64),
                    self.weight_NS[index, : len(frames_SF)].astype(np.float64),
                    int(self.video_sign_N[index]),
                    float(self.video_weight_N[index]),
                    shape,
                    frames_SF,
                )
            )
        return found

    def _members(self, index: int) -> tuple[str, ...]:
        if self.settings.method != "sft":
            return "a", "b"
        return ("latents",) if self.clips else ("a",) if self.video_sign_N[index] > 0 else ("b",)


@dataclass(frozen=True)
class Slot:
    """An example and its place in the whole batch of an optimiser step."""

    place: int
    example: Example
    key: tuple[Key, ...]  # what its random draws are keyed by
    stratum: tuple[int, int] | None  # which of how many equal parts of the noise levels it draws from; None: any


@dataclass(frozen=True)
class Batch:
    """Examples of one shape as tensors, and the slots they are in. `b_BCFHW` is None for single videos.

    A batch with `counts` off has no part in loss or gradient: it is there for others' forwards (see `Engine.load`).
    """

    slots: Sequence[Slot]
    a_BCFHW: Tensor
    b_BCFHW: Tensor | None
    sign_BS: Tensor
    weight_BS: Tensor
    video_sign_B: Tensor
    video_weight_B: Tensor
    frames_SF: Tensor
    counts: bool = True

    @property
    def prompts(self) -> list[str]:
        """One a row."""
        return [slot.example.prompt for slot in self.slots]


def slots_of(dataset: Dataset, step: int, settings: TrainSettings) -> list[Slot]:
    """What step number `step` learns from: epochs of a fresh permutation each, as one endless sequence.

    Draws are keyed by (step, place, example), so an example drawn twice in a batch gets two of them; with
    `reference_draws` by (draw, example), and epochs take an example's draws in turn.
    """
    count, batch, draws = len(dataset), settings.batch, settings.reference_draws
    strata = torch.randperm(batch, generator=generator(settings.seed, "strata", step)).tolist()
    order = batch_order(count, batch, step, settings.seed)
    slots = []
    for place, ((epoch, _), example) in enumerate(zip(order, dataset.examples([i for _, i in order]), strict=True)):
        if draws is not None:
            slots.append(fixed_slot(place, example, epoch % draws, settings))
        else:
            stratum = (strata[place], batch) if settings.stratified else None
            slots.append(Slot(place, example, (step, f"{place}/{example.id}"), stratum))
    return slots


def fixed_slot(place: int, example: Example, draw: int, settings: TrainSettings) -> Slot:
    """An example with one of its `reference_draws` fixed draws."""
    draws = settings.reference_draws or 1
    stratum = (draw + int(example.id[:8], 16)) % draws, draws  # so that no epoch has one noise level alone
    return Slot(place, example, (f"draw {draw}", example.id), stratum if settings.stratified else None)


def batch_order(count: int, batch: int, step: int, seed: int) -> list[tuple[int, int]]:
    """The epoch and the index of each example of a step."""
    places = [divmod(position, count) for position in range(step * batch, (step + 1) * batch)]
    return [(epoch, int(_permutation(count, seed, epoch)[place])) for epoch, place in places]


@functools.lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def load_batch(slots: Sequence[Slot]) -> Batch:
    """Read the latents of these slots' examples, of one shape, and stack everything."""
    examples = [slot.example for slot in slots]
    files = [load_file(e.file) for e in examples]
    members = [
        torch.stack([file[e.members[side]] for file, e in zip(files, examples, strict=True)]).float()
        for side in range(len(examples[0].members))
    ]
    return Batch(
        slots=slots,
        a_BCFHW=members[0],
        b_BCFHW=members[1] if len(members) > 1 else None,
        sign_BS=torch.tensor(np.stack([e.sign_S for e in examples]), dtype=torch.float32),
        weight_BS=torch.tensor(np.stack([e.weight_S for e in examples]), dtype=torch.float32),
        video_sign_B=torch.tensor([e.video_sign for e in examples], dtype=torch.float32),
        video_weight_B=torch.tensor([e.video_weight for e in examples], dtype=torch.float32),
        frames_SF=torch.tensor(examples[0].frames_SF, dtype=torch.float32),
    )
