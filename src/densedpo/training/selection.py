"""From labels to a dataset: which pairs or clips count, and what each of their segments is labelled.

Shapes: P pairs, S segments, F latent frames, N examples.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from densedpo.chunks import batched
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.models.encoded import encode_clips
from densedpo.store.consensus import ConsensusPolicy
from densedpo.store.opinions import Opinions, pair_columns
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import Split
from densedpo.store.shapes import Shape, shape_of
from densedpo.store.voters import measured
from densedpo.training.data import Dataset
from densedpo.training.lengths import joined, loss_weights, opinions_of_lengths, segments_of
from densedpo.training.prompts import Unencoded
from densedpo.training.settings import TrainSettings

ONE_NUMBER = np.array([1 << 40, 1 << 20, 1])  # times frames, width, height: numbers sort several times as fast as rows


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
