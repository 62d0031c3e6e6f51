"""VBench's formulas against an independent straight reading of them, loop by loop, on given features and flows.

Each `read_...` follows the text of the definition one frame at a time and shares nothing with the package.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densedpo.judges.scorers.flicker import flicker
from densedpo.judges.scorers.motion import sampling_interval
from densedpo.metrics import UnmeasurableError
from densedpo.metrics import vbench as formulas

RNG = np.random.default_rng(0)


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(sum(a * b for a, b in zip(one, two, strict=True)) / math.sqrt(sum(one**2)) / math.sqrt(sum(two**2)))


def read_consistency(features: np.ndarray) -> float:
    total = 0.0
    for i in range(1, len(features)):
        to_previous = max(0.0, cosine(features[i - 1], features[i]))
        to_first = max(0.0, cosine(features[0], features[i]))
        total += (to_previous + to_first) / 2
    return total / (len(features) - 1)


def read_magnitude(flow: np.ndarray) -> float:
    lengths = sorted((math.hypot(u, v) for u, v in flow.reshape(-1, 2)), reverse=True)
    cut = int(len(lengths) * 0.05)
    return sum(lengths[:cut]) / cut


def read_dynamic(magnitudes: list[float], frames: int, short_side: int) -> bool:
    threshold, needed, count = 6.0 * (short_side / 256.0), round(4 * (frames / 16.0)), 0
    for magnitude in magnitudes:
        if magnitude > threshold:
            count += 1
        if count >= needed:
            return True
    return False


def mean_absolute(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.mean([abs(float(a) - float(b)) for a, b in zip(one.ravel(), two.ravel(), strict=True)]))


def test_consistency() -> None:
    features = RNG.normal(size=(7, 12)) + 0.5
    assert formulas.consistency(features) == pytest.approx(read_consistency(features), abs=1e-12)


def test_consistency_by_hand() -> None:
    """Frames east, north, west: (0 + 0) / 2 and (0 + 0, for -1 counts as 0) / 2; then back east: (0 + 1) / 2."""
    east, north, west = [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]
    assert formulas.consistency(np.array([east, north, west])) == 0
    assert formulas.consistency(np.array([east, north, west, east])) == pytest.approx(1 / 6)
    assert formulas.consistency(np.array([north] * 4)) == pytest.approx(1)
    with pytest.raises(UnmeasurableError, match="2 frames"):
        formulas.consistency(np.array([east]))


def test_top_magnitude() -> None:
    flow = RNG.normal(size=(20, 30, 2)) * 5
    assert formulas.top_magnitude(flow) == pytest.approx(read_magnitude(flow), abs=1e-9)
    still = np.zeros((10, 10, 2))
    still[3, :5] = [3.0, 4.0]  # 5 of 100 pixels move by 5
    assert formulas.top_magnitude(still) == 5


@pytest.mark.parametrize("high", [[16, 32, 48], [1, 17, 33], [*range(0, 4096, 16)], [*range(5, 1000, 3)], []])
def test_top_magnitude_wherever_the_fast_pixels_are(high: list[int]) -> None:
    """Only among those that are looked at first, only beside them, or nowhere."""
    flow = np.zeros((64, 64, 2), np.float32)
    flow.reshape(-1, 2)[high] = np.arange(1, len(high) + 1, dtype=np.float32)[:, None]
    assert formulas.top_magnitude(flow) == pytest.approx(read_magnitude(flow), rel=1e-6)


@given(
    magnitudes=st.lists(st.floats(0, 30), min_size=2, max_size=60),
    short_side=st.sampled_from([48, 256, 480, 720]),
)
def test_is_dynamic(magnitudes: list[float], short_side: int) -> None:
    frames = len(magnitudes) + 1
    assert formulas.is_dynamic(magnitudes, frames, short_side) == read_dynamic(magnitudes, frames, short_side)


def test_is_dynamic_at_its_edges() -> None:
    """16 sampled frames need 4 steps above 6 pixels of 256; exactly 6 is not above."""
    assert formulas.is_dynamic([7.0] * 4 + [0.0] * 11, 16, 256)
    assert not formulas.is_dynamic([7.0] * 3 + [6.0] * 12, 16, 256)
    assert not formulas.is_dynamic([7.0] * 15, 16, 512)
    with pytest.raises(UnmeasurableError, match="3 sampled frames"):
        formulas.is_dynamic([100.0], 2, 256)


@pytest.mark.parametrize(
    ("fps", "interval"), [(8, 1), (4, 1), (12, 2), (16, 2), (24, 3), (23.976, 3), (30, 4), (60, 8)]
)
def test_sampling_interval(fps: float, interval: int) -> None:
    """Python rounds halves to even, as VBench's own code does: 12 / 8 = 1.5 becomes 2, and so does 20 / 8 = 2.5."""
    assert sampling_interval(fps) == interval == max(1, round(fps / 8))


def test_flickering() -> None:
    frames = RNG.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    differences = [mean_absolute(frames[i], frames[i + 1]) for i in range(4)]
    assert flicker(frames, 8.0) == pytest.approx((255 - sum(differences) / 4) / 255, abs=1e-12)
    with pytest.raises(UnmeasurableError, match="2 frames"):
        flicker(frames[:1], 8.0)


@pytest.mark.parametrize("count", [5, 6])
def test_smoothness(count: int) -> None:
    """Frames 0, 2, 4 stay; 1 and 3 are compared with what was made for them. Frame 5 has no frame after it."""
    frames = RNG.integers(0, 256, (count, 6, 7, 3), dtype=np.uint8)
    made = RNG.integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    error = (mean_absolute(frames[1], made[0]) + mean_absolute(frames[3], made[1])) / 2
    assert formulas.smoothness(frames, made) == pytest.approx((255 - error) / 255, abs=1e-12)


def test_aesthetic_and_imaging() -> None:
    features, weight, bias = RNG.normal(size=(4, 8)), RNG.normal(size=8), 5.5
    scores = []
    for row in features:
        length = math.sqrt(sum(x * x for x in row))
        scores.append((sum(w * x / length for w, x in zip(weight, row, strict=True)) + bias) / 10)
    assert formulas.aesthetic(features, weight, bias) == pytest.approx(sum(scores) / 4, abs=1e-12)
    assert formulas.imaging(np.array([50.0, 70.0])) == 0.6
