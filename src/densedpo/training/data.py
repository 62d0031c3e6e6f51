"""From labels to training examples: which pairs or clips count, and what each of their latent frames is labelled.

Shapes: B examples, C channels, F latent frames, S segments, H height, W width.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from densedpo.store.consensus import (
    ConsensusPolicy,
    SegmentLabels,
    consensus,
    global_consensus,
    majority_vote,
    nontie_share,
)
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import Label, Pair, Split, content_id
from densedpo.store.segments import Segment, latent_weights, segment_grid
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled pair; or, for sft, one video. Whole-video methods use the last two fields, dense the two before."""

    id: str  # of the pair or clip
    prompt: str
    file: str  # latents, as a path in the project's folder
    members: tuple[str, ...]  # names in that file: a and b; or one video
    sign_S: NDArray[np.float64]  # +1 a better, -1 b better, 0 tie or unlabelled
    weight_S: NDArray[np.float64]  # the label's confidence; 0 if unlabelled
    video_sign: int
    video_weight: float
    vae_hash: str
    model_hash: str | None  # None: a real clip
    eta: float | None


@dataclass(frozen=True)
class Dataset:
    """The examples in id order, and how segments lie over latent frames (columns of `frames_SF` sum to 1)."""

    examples: list[Example]
    frames_SF: NDArray[np.float64]
    left_out: dict[str, int]  # reason → pairs

    def fingerprint(self) -> str:
        """A hash of everything that training reads from the project."""
        rows = [
            [e.id, e.file, e.members, e.sign_S.tolist(), e.weight_S.tolist(), e.video_sign, e.video_weight]
            for e in self.examples
        ]
        return content_id(rows, self.frames_SF.tolist())

    def foreign(self, model: VideoModel) -> int:
        """How many videos were drawn by other weights than the model's."""
        return sum(e.model_hash not in (None, model.model_hash) for e in self.examples)


@dataclass(frozen=True)
class Slot:
    """An example and its place in the whole batch of an optimiser step."""

    place: int
    example: Example
    key: tuple[Key, ...]  # what its random draws are keyed by
    stratum: tuple[int, int] | None  # which of how many equal parts of the noise levels it draws from; None: any


@dataclass(frozen=True)
class Batch:
    """Examples as tensors, and the slots they are in. `b_BCFHW` is None for single videos."""

    slots: Sequence[Slot]
    a_BCFHW: Tensor
    b_BCFHW: Tensor | None
    sign_BS: Tensor
    weight_BS: Tensor
    video_sign_B: Tensor
    video_weight_B: Tensor

    @property
    def prompts(self) -> list[str]:
        """One a row."""
        return [slot.example.prompt for slot in self.slots]


def load_dataset(project: Project, model: VideoModel, settings: TrainSettings, split: Split = "train") -> Dataset:
    """Choose what to train on and bring everybody's labels to one.

    Raises:
        UserError: nothing is left to train on, with the reasons and their counts.
    """
    shape = project.settings
    segments = segment_grid(shape.frames, shape.fps, shape.segment_seconds)
    frames_SF = np.asarray(latent_weights(segments, shape.frames, model.temporal_factor), dtype=np.float64)
    left_out: Counter[str] = Counter()
    if settings.method == "sft" and settings.sft_on == "clips":
        examples = list(_real_clips(project, model, len(segments), split))
        what = f"clips of the {split} split"
    else:
        mode = "independent" if settings.method == "vanilla" else "guided"
        examples = []
        for example, reason in _judged(project, mode, segments, settings, split):
            if example is None:
                left_out[reason] += 1
            else:
                examples.append(example)
        what = f"{mode} pairs of the {split} split"
    if not examples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or f"it has no {what}"
        vote = "" if settings.method == "dense" else ", or take the vote of their segments with --video-labels majority"
        more = "ingest more" if "clips" in what else f"make and label more pairs{vote}"
        raise UserError(f"{project.root} has nothing to train {settings.method} on: {reasons}; {more}")
    return Dataset(examples, frames_SF, dict(left_out))


def _real_clips(project: Project, model: VideoModel, segments: int, split: Split) -> Iterator[Example]:
    for batch in batched(project.clips(split), BATCH):
        encode_clips(project, model, batch)
        for clip in batch:
            file = latents_file(project, model, clip).relative_to(project.root).as_posix()
            nothing = np.zeros(segments)
            yield Example(
                clip.id, clip.caption, file, ("latents",), nothing, nothing, 0, 1.0, model.vae_hash, None, None
            )


def _judged(
    project: Project, mode: str, segments: Sequence[Segment], settings: TrainSettings, split: Split
) -> Iterator[tuple[Example | None, str]]:
    """Every pair of this mode as an example, or why it is none; a batch of pairs in memory at a time."""
    policy = ConsensusPolicy(annotators=settings.annotators, confidence_weights=settings.confidence_weights)
    for batch in batched(project.pairs(split, mode), BATCH):
        labels = project.labels_of([pair.id for pair in batch])
        for pair in batch:
            yield _example(project, pair, labels[pair.id], segments, policy, settings)


def _example(
    project: Project,
    pair: Pair,
    labels: Sequence[Label],
    segments: Sequence[Segment],
    policy: ConsensusPolicy,
    settings: TrainSettings,
) -> tuple[Example | None, str]:
    if pair.latents is None:
        return None, "without latents"
    by_segment = consensus([label for label in labels if label.segment is not None], segments, policy)
    if settings.video_labels == "majority":
        whole = (majority_vote(by_segment), 1.0) if by_segment.labelled.any() else None
    else:
        whole = global_consensus([label for label in labels if label.segment is None], policy)
    reason = _why_not_dense(by_segment, settings) if settings.method == "dense" else _why_not_whole(whole, settings)
    if reason:
        return None, reason
    sign, weight = whole or (0, 0.0)
    members: tuple[str, ...] = ("a", "b")
    if settings.method == "sft":
        members, sign, weight = ("a",) if sign > 0 else ("b",), 0, 1.0
    file = project.latents_path(pair.latents).relative_to(project.root).as_posix()
    return Example(
        id=pair.id,
        prompt=pair.prompt,
        file=file,
        members=members,
        sign_S=np.asarray(by_segment.sign, dtype=np.float64),
        weight_S=np.asarray(by_segment.weight, dtype=np.float64),
        video_sign=int(sign),
        video_weight=float(weight),
        vae_hash=pair.vae_hash,
        model_hash=pair.model_hash,
        eta=pair.eta,
    ), ""


def _why_not_dense(labels: SegmentLabels, settings: TrainSettings) -> str:
    if not labels.labelled.any():
        return "unlabelled"
    if nontie_share(labels) <= settings.minimum_nontie:
        return f"with at most {settings.minimum_nontie:.0%} non-tie segments"
    return ""


def _why_not_whole(label: tuple[int, float] | None, settings: TrainSettings) -> str:
    if label is None:
        return "unlabelled" if settings.video_labels == "majority" else "without a whole-video label"
    return "" if label[0] else "tied"


def slots_of(dataset: Dataset, step: int, settings: TrainSettings) -> list[Slot]:
    """What step number `step` learns from: epochs of a fresh permutation each, as one endless sequence.

    Draws are keyed by (step, place, example), so an example drawn twice in a batch gets two of them; with
    `reference_draws` by (draw, example), and epochs take an example's draws in turn.
    """
    count, batch, draws = len(dataset.examples), settings.batch, settings.reference_draws
    order = torch.randperm(batch, generator=generator(settings.seed, "strata", step)).tolist()
    slots = []
    for place, (epoch, index) in enumerate(batch_order(count, batch, step, settings.seed)):
        example = dataset.examples[index]
        if draws is not None:
            slots.append(fixed_slot(place, example, epoch % draws, settings))
        else:
            stratum = (order[place], batch) if settings.stratified else None
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
    return [(epoch, _permutation(count, seed, epoch)[place]) for epoch, place in places]


@functools.lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()
    return order


def load_batch(project: Project, slots: Sequence[Slot]) -> Batch:
    """Read the latents of these slots' examples and stack everything."""
    examples = [slot.example for slot in slots]
    files = [load_file(project.root / e.file) for e in examples]
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
    )
