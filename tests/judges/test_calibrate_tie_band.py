"""The script that finds the simulated annotator's tie band."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from densedpo.tinyworld.oracle import ClipScores, Scores

SCRIPT = Path(__file__).parents[2] / "scripts" / "calibrate_tie_band.py"


def clip(quality: float) -> ClipScores:
    """A clip and its four segments, all of whose differences from another such clip are the same."""
    parts = tuple(Scores(quality + 0.04 * i, 0.5, 0.5, 1.0) for i in range(4))
    return ClipScores(Scores(quality, 0.5, 0.5, 1.0), parts, {})


def test_a_third_of_the_whole_clips_is_decisive_beyond_the_band() -> None:
    calibrate = runpy.run_path(str(SCRIPT))["calibrate"]
    draws = np.random.default_rng(0)
    pairs = [(str(i), clip(0.5), clip(0.5 + draws.normal(0, 0.1))) for i in range(3000)]
    found = calibrate(pairs, 1 / 3)
    assert found.pairs == 3000
    assert found.whole == pytest.approx(1 / 3, abs=0.001)
    # a margin's size is that of N(0, 0.05) + N(0, 0.03): half of the quality's difference, and the noise
    assert found.tie_band == pytest.approx(0.967 * np.hypot(0.05, 0.03), rel=0.05)
    # for a segment the difference counts 1.5 times: P(|N(0, 0.0808)| > 0.0564)
    assert found.segments == pytest.approx(0.485, abs=0.03)
    assert found.segments < found.any_segment
    assert found.mixed < found.any_segment
    assert calibrate(pairs, 0.6).tie_band < found.tie_band
