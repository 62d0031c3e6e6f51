"""Blockiness: steps at the edges of 8 x 8 blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from densedpo.judges.scorers.protocol import About, PixelScorer, luma
from densedpo.video.io import Frames

BLOCK = 8  # pixels; of JPEG, MPEG-4 and H.264 transforms, and of most video autoencoders
FLOOR = 1.0  # grey levels; keeps flat pictures from dividing by nothing


def blockiness(frames_THWC: Frames, fps: float) -> float:
    """How much larger steps of luma are at block edges than elsewhere: a ratio, 1 without blocks; mean over frames."""
    y_THW = luma(frames_THWC)
    steps = [np.abs(np.diff(y_THW, axis=axis)).mean(axis=other, dtype=np.float64) for axis, other in ((2, 1), (1, 2))]
    at_edges_T = np.mean([_mean(steps_TN, True) for steps_TN in steps], axis=0)
    elsewhere_T = np.mean([_mean(steps_TN, False) for steps_TN in steps], axis=0)
    return float(((at_edges_T + FLOOR) / (elsewhere_T + FLOOR)).mean())


def _mean(steps_TN: NDArray[np.float64], at_edges: bool) -> NDArray[np.float64]:
    """Mean [T] of the steps at the edges of blocks, or of the others; step i lies between pixels i and i + 1."""
    chosen_TN = steps_TN[:, (np.arange(steps_TN.shape[1]) % BLOCK == BLOCK - 1) == at_edges]
    return np.asarray(chosen_TN.mean(axis=1)) if chosen_TN.size else np.zeros(len(steps_TN))


SCORER = PixelScorer(
    About(
        name="blockiness",
        low=0.0,
        high=256.0,
        better="lower",
        unit="ratio of steps at block edges to steps elsewhere",
        source="after Wang, Bovik, Evans, Blind measurement of blocking artifacts in images (ICIP 2000)",
        sees="the grid of 8 x 8 blocks that hard compression and some decoders leave",
        blind_to="everything else; grids of another size or place; blocks hidden in rich texture",
        stillness="indifferent",
    ),
    blockiness,
)
