"""Freeze: the share of a clip's time in which it stands still."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from densedpo.judges.scorers.motion import Grey, reduced, sampled_grey
from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer
from densedpo.video.io import Frames

LEVELS = 4  # of 255; a smaller change of a pixel is noise of the codec
PIXELS = 0.001  # a smaller share of changed pixels is nothing that one sees


def freeze(frames_THWC: Frames, fps: float) -> float:
    """`freeze_share` of the sampled frames."""
    return freeze_share(reduced(sampled_grey(frames_THWC, fps)))


def freeze_share(grey_Nhw: Grey) -> float:
    """Share of the steps in which under 0.1% of the pixels change by more than 4 of 255 grey levels.

    Raises DeclinedError for a single frame.
    """
    if len(grey_Nhw) < 2:
        raise DeclinedError("a freeze needs 2 sampled frames or more")
    changed = [(np.abs(np.subtract(one, two, dtype=np.int16)) > LEVELS).mean() for one, two in pairwise(grey_Nhw)]
    return float(np.mean([share < PIXELS for share in changed]))


SCORER = PixelScorer(
    About(
        name="freeze",
        low=0.0,
        high=1.0,
        better="lower",
        unit="share of steps of an eighth of a second",
        source="own definition, on grey frames of at most 256 pixels",
        sees="clips that stop",
        blind_to="all in a clip that moves; pauses below an eighth of a second; that some clips are rightly still",
        stillness="avoids",
        minimum_frames=2,
    ),
    freeze,
    version="2",
)
