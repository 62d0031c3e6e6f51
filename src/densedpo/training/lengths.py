"""Clips of several lengths: how each one's segments lie over its latent frames, and opinions on all of them at once.

Shapes: P pairs, S segments, F latent frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, given_frames
from densedpo.store.consensus import ConsensusPolicy
from densedpo.store.opinions import Opinions, opinions
from densedpo.store.project import Project
from densedpo.store.segments import Segment, latent_weights, segment_grid

Segments = Callable[[int], tuple[Segment, ...]]  # of a clip of so many frames


def segments_of(project: Project) -> Segments:
    """How the project's clips are cut."""
    settings = project.settings
    return functools.cache(lambda frames: segment_grid(frames, settings.fps, settings.segment_seconds))


def loss_weights(model: VideoModel, segments: Sequence[Segment]) -> NDArray[np.float64]:
    """[S, F]: how segments lie over the latent frames that count in a loss; columns sum to 1.

    Raises UserError for a number of frames that does not fit the model's autoencoder.
    """
    weights_SF = np.asarray(latent_weights(segments, segments[-1].end_frame, model.temporal_factor), dtype=np.float64)
    return weights_SF[:, given_frames(model) :]  # a given first frame counts in no loss


def opinions_of_lengths(
    project: Project, pairs: Sequence[str], frames_P: NDArray[np.int64], segments: Segments, policy: ConsensusPolicy
) -> Opinions:
    """`opinions` of pairs of any lengths: segments that a pair does not have are unlabelled."""
    seconds, lengths = project.settings.segment_seconds, np.unique(frames_P).tolist()
    if len(lengths) == 1:
        return opinions(project, pairs, segments(lengths[0]), seconds, policy)
    rows = [np.flatnonzero(frames_P == frames).tolist() for frames in lengths]
    parts = [
        opinions(project, [pairs[row] for row in chosen], segments(frames), seconds, policy)
        for frames, chosen in zip(lengths, rows, strict=True)
    ]
    order = np.argsort(np.concatenate(rows))
    return Opinions(*(joined(column)[order] for column in zip(*map(astuple, parts), strict=True)))


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Parts `[P]` or `[P, S]` one below the other, those of fewer segments filled up with zeros."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    most = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in parts])


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """The same of tensors."""
    if parts[0].ndim == 1:
        return torch.cat([*parts])
    most = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, most - part.shape[1])) for part in parts])
