"""Sharpness: the variance of the Laplacian."""

from __future__ import annotations

import numpy as np

from densedpo.judges.scorers.motion import Grey, opencv, sampled_grey
from densedpo.judges.scorers.protocol import About, PixelScorer
from densedpo.video.io import Frames


def sharpness(frames_THWC: Frames, fps: float) -> float:
    """`laplacian_sharpness` of the sampled frames."""
    return laplacian_sharpness(sampled_grey(frames_THWC, fps))


def laplacian_sharpness(grey_NHW: Grey) -> float:
    """Mean over frames of log2(1 + variance of the 4-neighbour Laplacian); 1 more is twice the variance.

    Pixels at the edge, which lack a neighbour, do not count.
    """
    cv2 = opencv()
    inner = [cv2.Laplacian(frame, cv2.CV_16S)[1:-1, 1:-1] for frame in grey_NHW]
    return float(np.mean([np.log2(1 + cv2.meanStdDev(each)[1][0, 0] ** 2) for each in inner]))


SCORER = PixelScorer(
    About(
        name="sharpness",
        low=0.0,
        high=20.0,  # a checkerboard of single pixels: a variance of 1020^2
        better="higher",
        unit="doublings of the variance of the Laplacian",
        source="Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000), LAPV",
        sees="blur: soft, washed out or melting frames",
        blind_to="noise and ringing, which count as sharp; motion, meaning, time and the caption",
        stillness="indifferent",
    ),
    sharpness,
    version="2",
)
