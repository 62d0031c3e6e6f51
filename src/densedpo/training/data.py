"""From labels to training examples: which pairs count, and what each of their latent frames is labelled.

Shapes: B pairs, C channels, F latent frames, S segments, H height, W width.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from densedpo.diffusion.seeds import generator
from densedpo.errors import UserError
from densedpo.store.consensus import ConsensusPolicy, SegmentLabels, consensus, global_consensus, nontie_share
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, content_id
from densedpo.store.segments import Segment, latent_weights, segment_grid
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True)
class Example:
    """A labelled pair. Whole-video methods use the last two fields, dense the first two."""

    pair: Pair
    sign_S: NDArray[np.float64]  # +1 a better, -1 b better, 0 tie or unlabelled
    weight_S: NDArray[np.float64]  # the label's confidence; 0 if unlabelled
    video_sign: int
    video_weight: float


@dataclass(frozen=True)
class Dataset:
    """The examples in id order, and how segments lie over latent frames (columns of `frames_SF` sum to 1)."""

    examples: list[Example]
    frames_SF: NDArray[np.float64]
    left_out: dict[str, int]  # reason → pairs

    def fingerprint(self) -> str:
        """A hash of everything that training reads from the project."""
        rows = [
            [e.pair.id, e.pair.latents, e.sign_S.tolist(), e.weight_S.tolist(), e.video_sign, e.video_weight]
            for e in self.examples
        ]
        return content_id(rows, self.frames_SF.tolist())


@dataclass(frozen=True)
class Slot:
    """An example and its place in the whole batch of an optimiser step."""

    place: int
    example: Example

    @property
    def key(self) -> str:
        """What this slot's random draws are keyed by; a pair drawn twice in a batch gets two draws."""
        return f"{self.place}/{self.example.pair.id}"


@dataclass(frozen=True)
class Batch:
    """Examples as tensors, and the keys of their random draws."""

    keys: list[str]
    prompts: list[str]
    a_BCFHW: Tensor
    b_BCFHW: Tensor
    sign_BS: Tensor
    weight_BS: Tensor
    video_sign_B: Tensor
    video_weight_B: Tensor


def load_dataset(project: Project, temporal_factor: int, settings: TrainSettings) -> Dataset:
    """Choose the pairs to train on and bring everybody's labels to one.

    Raises:
        UserError: nothing is left to train on, with the reasons and their counts.
    """
    shape = project.settings
    segments = segment_grid(shape.frames, shape.fps, shape.segment_seconds)
    frames_SF = latent_weights(segments, shape.frames, temporal_factor)
    policy = ConsensusPolicy(annotators=settings.annotators, confidence_weights=settings.confidence_weights)
    labels: dict[str, list[Label]] = defaultdict(list)
    for label in project.labels():
        labels[label.pair].append(label)

    left_out: dict[str, int] = defaultdict(int)
    examples = []
    mode = "independent" if settings.method == "vanilla" else "guided"
    for pair in project.pairs("train", mode):
        example, reason = _example(pair, labels[pair.id], segments, policy, settings)
        if example is None:
            left_out[reason] += 1
        else:
            examples.append(example)
    if not examples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or f"it has no {mode} pairs"
        raise UserError(
            f"{project.root} has nothing to train {settings.method} on: {reasons}; make and label more pairs"
        )
    return Dataset(examples, np.asarray(frames_SF, dtype=np.float64), dict(left_out))


def _example(
    pair: Pair, labels: Sequence[Label], segments: Sequence[Segment], policy: ConsensusPolicy, settings: TrainSettings
) -> tuple[Example | None, str]:
    if pair.latents is None:
        return None, "without latents"
    by_segment = consensus([label for label in labels if label.segment is not None], segments, policy)
    whole = global_consensus([label for label in labels if label.segment is None], policy)
    if settings.method == "dense":
        reason = _why_not_dense(by_segment, settings)
    else:
        reason = "without a whole-video label" if whole is None else "tied" if whole[0] == 0 else ""
    if reason:
        return None, reason
    video_sign, video_weight = whole or (0, 0.0)
    signed = np.asarray(by_segment.sign, dtype=np.float64)
    return Example(
        pair, signed, np.asarray(by_segment.weight, dtype=np.float64), int(video_sign), float(video_weight)
    ), ""


def _why_not_dense(labels: SegmentLabels, settings: TrainSettings) -> str:
    if not labels.labelled.any():
        return "unlabelled"
    if nontie_share(labels) <= settings.minimum_nontie:
        return f"with at most {settings.minimum_nontie:.0%} non-tie segments"
    return ""


def batch_order(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Which examples step number `step` learns from: epochs of a fresh permutation each, as one endless sequence."""
    chosen = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, index = divmod(position, count)
        chosen.append(_permutation(count, seed, epoch)[index])
    return chosen


@functools.lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()
    return order


def load_batch(project: Project, slots: Sequence[Slot]) -> Batch:
    """Read the latents of these examples and stack everything."""
    examples = [slot.example for slot in slots]
    members = [load_file(project.latents_path(str(e.pair.latents))) for e in examples]
    return Batch(
        keys=[slot.key for slot in slots],
        prompts=[e.pair.prompt for e in examples],
        a_BCFHW=torch.stack([m["a"] for m in members]).float(),
        b_BCFHW=torch.stack([m["b"] for m in members]).float(),
        sign_BS=torch.tensor(np.stack([e.sign_S for e in examples]), dtype=torch.float32),
        weight_BS=torch.tensor(np.stack([e.weight_S for e in examples]), dtype=torch.float32),
        video_sign_B=torch.tensor([e.video_sign for e in examples], dtype=torch.float32),
        video_weight_B=torch.tensor([e.video_weight for e in examples], dtype=torch.float32),
    )
