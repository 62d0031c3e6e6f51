"""Sampled frames and flow of a clip, as `judges/scorers/motion.py` defines them, computed once for all metrics."""

from __future__ import annotations

from densedpo.judges.scorers.motion import Flow, Grey, flow, reduced, sampled_grey, sampling_interval
from densedpo.metrics.footage import Footage


def rate(clip: Footage) -> float:
    """Sampled frames a second: about 8, or the clip's own rate if that is lower."""
    return clip.fps / sampling_interval(clip.fps)


def full_grey(clip: Footage) -> Grey:
    """Sampled frames in grey at full size, [N, H, W]."""
    return clip.once("full grey", lambda: sampled_grey(clip.frames, clip.fps))


def grey(clip: Footage) -> Grey:
    """Sampled frames in grey, averaged down to a short side of at most 256 pixels, [N, h, w]."""
    return clip.once("grey", lambda: reduced(full_grey(clip)))


def forward_flow(clip: Footage) -> Flow:
    """Flow from each sampled frame to the next. Raises UnmeasurableError below 2 frames or 16 pixels."""
    return clip.once("forward flow", lambda: flow(grey(clip)))


def backward_flow(clip: Footage) -> Flow:
    """Flow from each sampled frame, but the first, to the one before. Raises as `forward_flow`."""
    return clip.once("backward flow", lambda: flow(grey(clip)[::-1])[::-1])
