"""From labels to training examples: which pairs or clips count, and what each of their latent frames is labelled.

Shapes: B examples, C channels, F latent frames, S segments, H height, W width.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from densedpo.chunks import batched
from densedpo.diffusion.protocol import VideoModel
from densedpo.diffusion.seeds import Key, generator
from densedpo.errors import UserError
from densedpo.models.encoded import encode_clips, latents_file
from densedpo.store.consensus import ConsensusPolicy
from densedpo.store.opinions import Opinions, pair_columns
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import Clip, Pair, Split
from densedpo.store.shapes import Shape, shape_of
from densedpo.store.voters import measured
from densedpo.training.lengths import joined, loss_weights, opinions_of_lengths, segments_of
from densedpo.training.prompts import Unencoded
from densedpo.training.settings import TrainSettings

ONE_NUMBER = np.array([1 << 40, 1 << 20, 1])  # times frames, width, height: numbers sort several times as fast as rows


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
        betas = {shape: self.settings.beta_mean(size) for shape, size in self.latent_shapes.items()}
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


def load_dataset(project: Project, model: VideoModel, settings: TrainSettings, split: Split = "train") -> Dataset:
    """Choose what to train on and bring everybody's labels to one.

    Raises:
        UserError: nothing is left to train on, with the reasons and their counts.
    """
    chosen = Chosen(project, model)
    if settings.method == "sft" and settings.sft_on == "clips":
        _choose_clips(chosen, project, model, split)
        what = f"clips of the {split} split"
    else:
        mode = mode_of(settings)
        _choose_pairs(chosen, project, mode, settings, split)
        what = f"{mode} pairs of the {split} split"
    if not chosen.ids:
        reasons = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items()) or f"it has no {what}"
        vote = "" if settings.method == "dense" else ", or take the vote of their segments with --video-labels majority"
        more = "ingest more" if "clips" in what else f"make and label more pairs{vote}"
        raise UserError(f"{project.root} has nothing to train {settings.method} on: {reasons}; {more}")
    return chosen.dataset(project, settings, split)


def mode_of(settings: TrainSettings) -> Literal["guided", "independent"]:
    """Which pairs a method learns from."""
    return "independent" if settings.method == "vanilla" else "guided"


class Chosen:
    """A dataset in the making, part by part."""

    def __init__(self, project: Project, model: VideoModel) -> None:
        self.model, self.segments = model, segments_of(project)
        self.grids: dict[Shape, NDArray[np.float64]] = {}
        self.ids: list[NDArray[np.bytes_]] = []
        self.columns: list[tuple[NDArray[Any], ...]] = []
        self.etas: list[NDArray[np.float64]] = []
        self.left_out: Counter[str] = Counter()
        self.foreign = self.foreign_latents = 0
        self.unencoded = Unencoded(project, model)
        self._read = hashlib.sha256()

    def add(
        self, ids: Sequence[str], latents: Sequence[str], sizes_P3: NDArray[np.int64], *columns: NDArray[Any]
    ) -> None:
        """Examples, the digests of their latents, shapes, and sign_PS, weight_PS, video_sign_P, video_weight_P."""
        if ids:
            self.ids.append(np.array(ids, "S32"))
            self.columns.append((*columns, self._shapes(sizes_P3)))
            self._read.update("".join((*ids, *latents)).encode() + b"".join(each.tobytes() for each in columns))

    def _shapes(self, sizes_P3: NDArray[np.int64]) -> NDArray[np.int16]:
        """The place in `grids` of each of these shapes, of which new ones are noted."""
        _, first, which_P = np.unique(sizes_P3 @ ONE_NUMBER, return_index=True, return_inverse=True)
        distinct = [Shape(*size) for size in sizes_P3[first].tolist()]
        for shape in distinct:
            if shape not in self.grids:
                self.grids[shape] = loss_weights(self.model, self.segments(shape.frames))
                self._read.update(self.grids[shape].tobytes())
        places = {shape: place for place, shape in enumerate(self.grids)}
        return np.array([places[shape] for shape in distinct], np.int16)[which_P]

    def dataset(self, project: Project, settings: TrainSettings, split: Split) -> Dataset:
        """All parts joined."""
        sign, weight, video_sign, video_weight, shape = (joined(parts) for parts in zip(*self.columns, strict=True))
        return Dataset(
            project, self.model, settings, split, np.concatenate(self.ids), sign, weight, video_sign, video_weight,
            shape, self.grids, np.concatenate([np.zeros(0), *self.etas]), dict(self.left_out), self.foreign,
            self.foreign_latents, self.unencoded.prompts, self._read.hexdigest()[:32],
        )  # fmt: skip


def _choose_clips(chosen: Chosen, project: Project, model: VideoModel, split: Split) -> None:
    for clips in batched(project.clips(split), BATCH):
        encode_clips(project, model, clips)
        count, shapes_P3 = len(clips), np.array([shape_of(clip) for clip in clips], np.int64)
        segments = max(len(chosen.segments(clip.frames)) for clip in clips)
        nothing = np.zeros((count, segments), np.int8), np.zeros((count, segments), np.float32)
        ids, media = [clip.id for clip in clips], [clip.media for clip in clips]
        chosen.unencoded.look(clip.caption for clip in clips)
        chosen.add(ids, media, shapes_P3, *nothing, np.zeros(count, np.int8), np.ones(count, np.float32))


def _choose_pairs(chosen: Chosen, project: Project, mode: str, settings: TrainSettings, split: Split) -> None:
    policy = ConsensusPolicy(
        annotators=settings.annotators,
        confidence_weights=settings.confidence_weights,
        method=settings.consensus,
        humans_override=settings.humans_override,
        minimum_confidence=settings.minimum_confidence,
    )
    if policy.method != "majority":
        policy = measured(policy, project.labels())
    columns = ("latents", "vae_hash", "model_hash", "eta", "prompt", *Shape._fields)
    for rows in pair_columns(project, columns, split, mode):
        sizes_P3 = np.array([row[6:] for row in rows], np.int64)
        said = opinions_of_lengths(project, [row[0] for row in rows], sizes_P3[:, 0], chosen.segments, policy)
        latents_P = np.array([row[1] is not None for row in rows])
        sign_P, weight_P, labelled_P = _of_videos(said, settings)
        if settings.method == "dense":
            decided_P = (said.sign_PS != 0).sum(axis=1) / np.maximum(said.labelled_PS.sum(axis=1), 1)
            reasons = {
                "unlabelled": ~said.labelled_PS.any(axis=1),
                f"with at most {settings.minimum_nontie:.0%} non-tie segments": decided_P <= settings.minimum_nontie,
            }
        else:
            voted = settings.video_labels == "majority"
            reasons = {"unlabelled" if voted else "without a whole-video label": ~labelled_P, "tied": sign_P == 0}
        left_P = np.zeros(len(rows), np.bool_)
        for reason, applies_P in ({"without latents": ~latents_P} | reasons).items():
            chosen.left_out[reason] += int((applies_P & ~left_P).sum())
            left_P |= applies_P
        chosen.left_out = +chosen.left_out
        kept = [row for row, left in zip(rows, left_P, strict=True) if not left]
        chosen.add(
            [row[0] for row in kept], [row[1] for row in kept], sizes_P3[~left_P],
            said.sign_PS[~left_P], said.weight_PS[~left_P], sign_P[~left_P], weight_P[~left_P],
        )  # fmt: skip
        chosen.unencoded.look(row[5] for row in kept)
        chosen.foreign_latents += sum(row[2] != chosen.model.vae_hash for row in kept)
        chosen.foreign += sum(row[3] != chosen.model.model_hash for row in kept)
        chosen.etas.append(np.array([row[4] for row in kept if row[4] is not None], np.float64))


def _of_videos(
    said: Opinions, settings: TrainSettings
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.bool_]]:
    """Sign, weight and whether there is one, of whole videos: as labelled, or by the majority of their segments."""
    if settings.video_labels == "whole":
        return said.video_sign_P, said.video_weight_P, said.video_labelled_P
    labelled_P = np.asarray(said.labelled_PS.any(axis=1), np.bool_)
    return np.sign(said.sign_PS.sum(axis=1)).astype(np.int8), np.asarray(labelled_P, np.float32), labelled_P


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
