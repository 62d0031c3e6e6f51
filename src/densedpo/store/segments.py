"""Segments: seconds on a fixed grid, and what they cover in pixel frames and in latent frames.

Shapes: S segments, F latent frames. The grid is that of DenseDPO (arXiv 2506.03517), one label a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError

_SLACK = 1e-6  # frames; absorbs rounding in fps * seconds


@dataclass(frozen=True, slots=True)
class Segment:
    """Pixel frames `first_frame` up to, not including, `end_frame`; `start` and `end` in seconds."""

    index: int
    start: float
    end: float
    first_frame: int
    end_frame: int


def segment_grid(frames: int, fps: float, seconds: float) -> tuple[Segment, ...]:
    """Cut a video into segments of `seconds`; frame i belongs where its time i / fps lies.

    A tail shorter than half a segment, or in which no frame starts, belongs to the segment before it: 121 frames at
    24 fps are 5 segments of 1 s.
    Raises UserError for an empty video or a segment shorter than a frame.
    """
    per_segment = fps * seconds
    if frames < 1 or per_segment < 1 - _SLACK:
        raise UserError(
            f"cannot cut {frames} frames at {fps} fps into segments of {seconds} s; "
            "a video needs at least one frame, and a segment must last at least one frame"
        )
    whole = floor(frames / per_segment + _SLACK)
    tail = frames - whole * per_segment
    holds_a_frame = ceil(whole * per_segment - _SLACK) < frames
    count = max(1, whole + (holds_a_frame and tail >= per_segment / 2 - _SLACK))
    firsts = [ceil(index * per_segment - _SLACK) for index in range(count)]
    ends = [*firsts[1:], frames]
    times = [*(index * seconds for index in range(count)), frames / fps]
    return tuple(Segment(i, times[i], times[i + 1], firsts[i], ends[i]) for i in range(count))


def latent_frame_count(frames: int, temporal_factor: int) -> int:
    """Latent frames that a causal video autoencoder makes of `frames` = 1 + `temporal_factor` * n. Else UserError."""
    if frames < 1 or (frames - 1) % temporal_factor:
        below = max(0, (frames - 1) // temporal_factor) * temporal_factor + 1
        raise UserError(
            f"{frames} frames do not fit an autoencoder with temporal factor {temporal_factor}; "
            f"use {below} or {below + temporal_factor}"
        )
    return 1 + (frames - 1) // temporal_factor


def latent_weights(segments: Sequence[Segment], frames: int, temporal_factor: int) -> NDArray[np.float64]:
    """[S, F]: the share of each latent frame's pixel frames that lies in each segment; columns sum to 1.

    Latent frame 0 is pixel frame 0; latent frame k >= 1 is pixel frames r(k-1)+1 .. rk, with r = `temporal_factor`.
    Raises UserError if `frames` is not 1 + r * n or the segments do not cover exactly `frames`.
    """
    count = latent_frame_count(frames, temporal_factor)
    if segments[-1].end_frame != frames:
        raise UserError(f"the segments cover {segments[-1].end_frame} frames, but the video has {frames}")
    weights_SF = np.zeros((len(segments), count))
    for segment in segments:
        for frame in range(segment.first_frame, segment.end_frame):
            latent = ceil(frame / temporal_factor)
            weights_SF[segment.index, latent] += 1 if frame == 0 else 1 / temporal_factor
    return weights_SF


def frame_labels(signed: Any, weights: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels [S] (sign times weight: +1 a better, -1 b better, 0 neither) to latent frames: sign [F] and size [F].

    With m_f the mean label of frame f, weighted by `weights` [S, F], sign is sign(m_f), which belongs inside the
    loss's sigmoid, and size is |m_f|, the frame's weight outside it. A frame cut half by a and half by b has size 0.
    """
    mean_F = np.asarray(signed, dtype=np.float64) @ np.asarray(weights, dtype=np.float64)
    return np.sign(mean_F), np.abs(mean_F)
