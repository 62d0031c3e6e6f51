"""Scorers that need no weights: one contract for all files, and planted defects for each."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from densedpo.errors import UserError
from densedpo.judges.scorers import DeclinedError, Shown, find_scorer, find_scorers
from densedpo.tinyworld.world import FPS, Attributes, render, sample_scene
from densedpo.video.io import Frames, write_video

SCORERS = find_scorers()
EVERY = pytest.mark.parametrize("name", sorted(SCORERS))
CLIP = render(sample_scene(np.random.default_rng(3), Attributes("red", "star", "navy"), 9)).copy()


def noise(shape: tuple[int, ...], seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def sliding(frames: int = 8, step: int = 2) -> Frames:
    """A smooth random texture that slides to the right: pure motion, nothing else."""
    rng = np.random.default_rng(1)
    x = np.arange(96)[None, :] / 96 * 2 * np.pi
    y = np.arange(64)[:, None] / 64 * 2 * np.pi
    waves = [
        rng.normal() * np.cos(i * x + j * y + rng.uniform(0, 7)) for i in range(1, 6) for j in range(-4, 5) if i + j
    ]
    texture = np.clip(128 + 22 * np.sum(waves, axis=0), 0, 255)
    return (
        np.stack([np.roll(texture, step * t, axis=1) for t in range(frames)])[..., None].repeat(3, axis=3).astype("u1")
    )


def test_the_scorers_are_those_we_know() -> None:
    assert sorted(SCORERS) == ["blockiness", "brisque", "flicker", "freeze", "sharpness", "warping_error"]


@EVERY
def test_every_scorer_says_what_it_is(name: str) -> None:
    about = SCORERS[name].about
    assert about.name == name
    assert about.low < about.high and about.better in ("higher", "lower")
    assert about.stillness in ("prefers", "indifferent", "avoids")
    assert all(len(text) > 4 for text in (about.unit, about.source, about.sees, about.blind_to))


@EVERY
def test_every_score_is_in_its_range_and_the_same_again(name: str) -> None:
    scorer = SCORERS[name]
    flat = np.zeros((4, 16, 16, 3), np.uint8)
    checkers = np.tile(np.indices((16, 16)).sum(0)[..., None] % 2 * 255, (4, 1, 1, 3)).astype(np.uint8)
    if name == "brisque":  # what has no texture has no statistics either
        for frames in (flat, checkers):
            with pytest.raises(DeclinedError):
                scorer.score_frames(frames, 8.0)
        flat = checkers = noise((2, 16, 16, 3))
    for frames in (CLIP, flat, checkers, noise((4, 24, 20, 3))):
        before = frames.copy()
        score = scorer.score_frames(frames, 8.0)
        assert scorer.about.low <= score <= scorer.about.high
        assert scorer.score_frames(frames, 8.0) == score
        np.testing.assert_array_equal(frames, before)


@EVERY
def test_every_score_is_of_the_frames_asked_for(name: str, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", CLIP, FPS)
    shown = Shown("id", tmp_path / "clip.mp4", "", 2, 6, FPS)
    assert SCORERS[name].score(shown) == SCORERS[name].score_frames(CLIP[2:6], FPS)


def blurred(frames: Frames) -> Frames:
    wide = np.pad(frames.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = frames.shape[1:3]
    parts = [wide[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.mean(parts, axis=0).round().astype(np.uint8)


def blocky(frames: Frames) -> Frames:
    t, h, w, c = frames.shape
    means = frames.reshape(t, h // 8, 8, w // 8, 8, c).mean(axis=(2, 4), keepdims=True)
    return np.broadcast_to(means, (t, h // 8, 8, w // 8, 8, c)).reshape(frames.shape).astype(np.uint8)


def blinking(frames: Frames) -> Frames:
    return np.stack([frame if t % 2 else (frame * 0.8).astype(np.uint8) for t, frame in enumerate(frames)])


def boiling(frames: Frames) -> Frames:
    shifts = np.random.default_rng(0).integers(-18, 19, frames.shape[:3])[..., None]
    return np.clip(frames.astype(int) + shifts, 0, 255).astype(np.uint8)


def stuttering(frames: Frames) -> Frames:
    return frames[np.arange(len(frames)) // 2 * 2]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("sharpness", blurred),
        ("blockiness", blocky),
        ("flicker", blinking),
        ("warping_error", boiling),
        ("freeze", stuttering),
    ],
)
def test_each_sees_its_own_defect(name: str, spoil: Callable[[Frames], Frames]) -> None:
    scorer = SCORERS[name]
    for clean in (sliding(), CLIP[:8]):
        assert scorer.about.sign * (scorer.score_frames(clean, 8) - scorer.score_frames(spoil(clean), 8)) > 0


def test_values_by_hand() -> None:
    # One white pixel: Laplacians of its row of the 3 x 3 inside are 255, -1020, 255, in its column likewise, else 0.
    dot = np.zeros((1, 5, 5, 3), np.uint8)
    dot[:, 2, 2] = 255
    laplacian = np.array([[0, 255, 0], [255, -1020, 255], [0, 255, 0]])
    assert SCORERS["sharpness"].score_frames(dot, 8) == pytest.approx(np.log2(1 + laplacian.var()), rel=1e-5)
    # Flat blocks of 8, steps of 40 between them, in both directions alike: (40 + 1) / (0 + 1).
    level = (np.indices((16, 16)) // 8).sum(0) * 40
    blocks = np.repeat(level[None, :, :, None], 3, axis=3).astype(np.uint8)
    assert SCORERS["blockiness"].score_frames(blocks, 8) == pytest.approx(41, rel=1e-5)
    # Three frames: one step of 51 levels, one of none.
    steps = np.array([0, 51, 51], np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    assert SCORERS["flicker"].score_frames(steps, 8) == pytest.approx(1 - 25.5 / 255)
    assert SCORERS["freeze"].score_frames(steps, 8) == 0.5


def test_motion_that_the_flow_explains_is_no_warping_error() -> None:
    still, moving = sliding(step=0), sliding(step=2)
    assert SCORERS["warping_error"].score_frames(still, 8) == 0
    unexplained = np.abs(np.diff(moving.astype(int), axis=0)).mean() / 255
    assert SCORERS["warping_error"].score_frames(moving, 8) < 0.1 * unexplained


@EVERY
def test_what_is_said_about_stillness_is_true(name: str) -> None:
    scorer = SCORERS[name]
    frozen = [scorer.score_frames(np.repeat(CLIP[t : t + 1], len(CLIP), axis=0), 8) for t in range(len(CLIP))]
    gains = scorer.about.sign * (np.array(frozen) - scorer.score_frames(CLIP, 8))
    if scorer.about.stillness == "indifferent":  # on average over the frames at which the clip could stop
        assert gains.mean() == pytest.approx(0, abs=1e-9)
    else:
        assert (gains > 0).all() if scorer.about.stillness == "prefers" else (gains < 0).all()


def test_clear_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no scorer beauty; choose blockiness, brisque, flicker"):
        find_scorer("beauty")
    with pytest.raises(UserError, match="flicker needs at least 2 frames, but a segment has 1"):
        SCORERS["flicker"].score_frames(CLIP[:1], 8)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"OpenCV, which is not installed; pip install 'densedpo\[eval\]'"):
        SCORERS["warping_error"].score_frames(CLIP, 8)
