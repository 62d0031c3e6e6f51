"""VBench's formulas as pure functions of given features, flows and frames (github.com/Vchitect/VBench, vbench/*.py).

Its sampling and its flickering are scorers' too: `judges/scorers/motion.py` and `flicker.py`.

Shapes: T frames, N sampled frames, D feature size, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from densedpo.metrics.protocol import UnmeasurableError

Features = NDArray[np.floating]  # [T, D]


def top_magnitude(flow_HW2: NDArray[np.floating]) -> float:
    """The mean of the largest 5% of the flow's magnitudes, in pixels."""
    squares = (flow_HW2[..., 0] ** 2 + flow_HW2[..., 1] ** 2).ravel()
    count = max(1, int(squares.size * 0.05))
    # Only what reaches a level that a sixteenth of the pixels says is sorted out exactly: a third of the time.
    sample = np.sort(squares[::16])
    likely = squares[squares >= sample[int(0.9 * sample.size)]]
    among = likely if likely.size >= count else squares
    largest = np.partition(among, among.size - count)[among.size - count :]
    return float(np.sqrt(largest).mean(dtype=np.float64))


def is_dynamic(magnitudes: Sequence[float], sampled: int, short_side: int) -> bool:
    """Whether at least round(4 N / 16) of the N - 1 `top_magnitude`s exceed 6 pixels at a short side of 256.

    Raises UnmeasurableError for fewer than 3 sampled frames, of which VBench would call any dynamic, even frozen ones.
    """
    wanted = round(4 * sampled / 16)
    if wanted < 1:
        raise UnmeasurableError(f"dynamic degree needs 3 sampled frames (at 8 a second), the clip has {sampled}")
    return sum(magnitude > 6 * short_side / 256 for magnitude in magnitudes) >= wanted


def consistency(features_TD: Features) -> float:
    """Mean over frames i >= 1 of half of [cos(f_i-1, f_i)+ + cos(f_0, f_i)+]: subject and background consistency.

    Raises UnmeasurableError for a single frame.
    """
    if len(features_TD) < 2:
        raise UnmeasurableError("consistency needs 2 frames or more")
    unit = features_TD / np.linalg.norm(features_TD, axis=1, keepdims=True)
    before = (unit[:-1] * unit[1:]).sum(axis=1).clip(min=0)
    first = (unit[:1] * unit[1:]).sum(axis=1).clip(min=0)
    return float(((before + first) / 2).mean())


def smoothness(frames_THWC: NDArray[np.uint8], interpolated_THWC: NDArray[np.uint8]) -> float:
    """(255 - mean absolute error of the odd frames) / 255; frame i of the second array was made for frame 2 i + 1.

    A last odd frame without an even one after it cannot be interpolated and does not count.
    """
    pairs = zip(frames_THWC[1::2][: len(interpolated_THWC)], interpolated_THWC, strict=True)
    errors = [np.abs(np.subtract(one, two, dtype=np.int16)).mean() for one, two in pairs]
    return float((255 - np.mean(errors)) / 255)


def aesthetic(features_TD: Features, weight_D: NDArray[np.floating], bias: float) -> float:
    """Mean over frames of the LAION head on unit features, divided by 10."""
    unit = features_TD / np.linalg.norm(features_TD, axis=1, keepdims=True)
    return float((unit @ weight_D + bias).mean() / 10)


def imaging(scores_T: NDArray[np.floating]) -> float:
    """Mean over frames of MUSIQ's scores, divided by 100."""
    return float(np.mean(scores_T) / 100)
