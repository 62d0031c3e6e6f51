"""BRISQUE: how far the local statistics of frames are from those of undistorted photographs.

Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain" (IEEE TIP 2012): 36 features of
the brightness after local normalisation at two scales, and a support vector regression to what people said about the
LIVE images. The regression is that of the Python packages `brisque` and `image-quality`, see brisque_regression/NOTICE;
the features are those of OpenCV's `quality` module: cubic interpolation, and an asymmetric fit to the normalised
brightness too. LIVE's MATLAB release differs in both and has a regression of its own: its scores are somewhat others.
Shapes: N sampled frames, H and W pixels, G the grid of shapes, S support vectors of F = 36 features.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from densedpo.judges.scorers.motion import Grey, opencv, sampled_grey
from densedpo.judges.scorers.protocol import About, DeclinedError, PixelScorer
from densedpo.video.io import Frames

Array = NDArray[np.float64]

SCALES = 2
WINDOW, SIGMA = (7, 7), 7 / 6  # pixels, of the Gaussian that a pixel's neighbourhood is weighted with
SATURATION = 1 / 255  # keeps flat places from dividing by nothing
SHAPES_G = np.arange(0.2, 10.0, 0.001)  # what the fit tries; 2 is a Gaussian, 1 a Laplacian
RATIOS_G = gamma(2 / SHAPES_G) ** 2 / (gamma(1 / SHAPES_G) * gamma(3 / SHAPES_G))  # rises with the shape
LOW, HIGH = -50.0, 150.0  # people's opinions of the LIVE images lie in 0 to 100; what is far beyond is cut


def brisque(frames_THWC: Frames, fps: float) -> float:
    """Mean of the sampled frames' scores; raises DeclinedError if none has any texture."""
    found = [features(frame) for frame in sampled_grey(frames_THWC, fps)]
    scores = [predicted(each) for each in found if each is not None]
    if not scores:
        raise DeclinedError("BRISQUE needs texture, and these frames are flat or a regular pattern")
    return float(np.mean(np.clip(scores, LOW, HIGH)))


def features(grey_HW: Grey) -> Array | None:
    """The 36 features of a uint8 frame; None if a distribution has one side only, as in a flat frame."""
    cv2 = opencv()
    full: NDArray[np.float32] = np.divide(grey_HW, 255, dtype=np.float32)
    height, width = full.shape
    found: list[float] = []
    for scale in range(SCALES):
        size = max(1, width >> scale), max(1, height >> scale)
        normal = normalised(full if scale == 0 else cv2.resize(full, size, interpolation=cv2.INTER_CUBIC))
        neighbours = (normal[:, :-1], normal[:, 1:]), (normal[:-1], normal[1:])
        diagonals = (normal[:-1, :-1], normal[1:, 1:]), (normal[1:, :-1], normal[:-1, 1:])
        for number, values in enumerate([normal, *(one * other for one, other in (*neighbours, *diagonals))]):
            # Pixels without a neighbour count as products of 0, and so only in the number of values.
            fitted = asymmetric_fit(values, normal.size)
            if fitted is None:
                return None
            shape, left, right = fitted
            if number == 0:
                found += [shape, (left**2 + right**2) / 2]
            else:
                spread = float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)) * gamma(2 / shape) / gamma(1 / shape))
                found += [shape, (right - left) * spread, left**2, right**2]
    return np.array(found)


def normalised(image_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel minus the mean of its neighbourhood, by the standard deviation of that."""
    cv2 = opencv()
    mean, square = (
        cv2.GaussianBlur(x, WINDOW, SIGMA, borderType=cv2.BORDER_REPLICATE) for x in (image_HW, image_HW**2)
    )
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return np.asarray((image_HW - mean) / (deviation + SATURATION), dtype=np.float32)


def asymmetric_fit(values: NDArray[np.float32], count: int) -> tuple[float, float, float] | None:
    """Shape and the deviations left and right of 0 of a generalised Gaussian, by moments (Lasmar et al., ICIP 2009).

    `count`: how many values there are, with those that are 0 and were left out. None if one side has no values.
    """
    negative, positive = values[values < 0].astype(np.float64), values[values > 0].astype(np.float64)
    if not (negative.size and positive.size):
        return None
    left, right = float(np.sqrt((negative**2).mean())), float(np.sqrt((positive**2).mean()))
    absolute = (positive.sum() - negative.sum()) / count
    square = ((positive**2).sum() + (negative**2).sum()) / count
    skew = left / right
    ratio = absolute**2 / square * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    return float(SHAPES_G[np.abs(RATIOS_G - ratio).argmin()]), left, right


def predicted(found_F: Array) -> float:
    """What the regression makes of 36 features: more is worse, not cut to its scale."""
    width, offset, weights_S, vectors_SF = _regression()
    least_F, greatest_F = _ranges()
    scaled_F = 2 * (found_F - least_F) / (greatest_F - least_F) - 1
    return float(weights_S @ np.exp(-width * ((vectors_SF - scaled_F) ** 2).sum(axis=1)) - offset)


@cache
def _regression() -> tuple[float, float, Array, Array]:
    """Width of the kernel, offset, weights [S] and support vectors [S, F] of the file in LIBSVM's format."""
    head, _, body = (files(__package__) / "brisque_regression" / "svm.txt").read_text("ascii").partition("\nSV\n")
    settings = dict(line.split(" ", 1) for line in head.splitlines())
    rows = np.array([[float(cell.rpartition(":")[2]) for cell in line.split()] for line in body.splitlines()])
    return float(settings["gamma"]), float(settings["rho"]), rows[:, 0], rows[:, 1:]


@cache
def _ranges() -> tuple[Array, Array]:
    """The least and the greatest value [F] of each feature where the regression was fitted."""
    lines = (files(__package__) / "brisque_regression" / "range.txt").read_text("ascii").splitlines()
    least_F, greatest_F = np.array([[float(cell) for cell in line.split()] for line in lines]).T
    return least_F, greatest_F


SCORER = PixelScorer(
    About(
        name="brisque",
        low=LOW,
        high=HIGH,
        better="lower",
        unit="LIVE's scale of distortion, 0 to 100 and somewhat beyond",
        source="Mittal, Moorthy, Bovik, No-reference image quality assessment in the spatial domain (IEEE TIP 2012)",
        sees="noise, blur and compression that photographs of good quality do not have, frame by frame",
        blind_to="motion, time, meaning, the caption; what it was not fitted to (drawings, flat colours, a film's own "
        "grain) may count as distorted, and frames without any texture get no score",
        stillness="indifferent",
    ),
    brisque,
)
