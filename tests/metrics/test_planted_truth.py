"""The weights-free metrics on clips whose truth was planted: known shift, flicker, frozen, blurred, identical."""

import math
from pathlib import Path

import numpy as np
import pytest
from planted import FPS, METRICS, frozen, refused, shifting, texture, value
from scipy.ndimage import gaussian_filter

from densedpo.judges.scorers import find_scorer
from densedpo.metrics import Footage, Tools
from densedpo.metrics.flow import forward_flow, grey
from densedpo.metrics.reference_ssim import ssim
from densedpo.tinyworld.world import draw_scene, render
from densedpo.video import io

MOVING = shifting(4.0)


@pytest.mark.parametrize("direction", [(0, 1), (1, 0), (-1, 0)])
def test_flow_finds_a_known_shift(direction: tuple[int, int]) -> None:
    flow = forward_flow(Footage((shifting(3.0, 4, direction=direction), FPS)))
    inside = flow[:, 16:-16, 16:-16]
    expected = -3.0 * np.array([direction[1], direction[0]])  # the window shows what lies further on
    assert np.median(inside, axis=(0, 1, 2)) == pytest.approx(expected, abs=0.15)


def test_motion_strength_of_a_known_shift() -> None:
    """4 pixels of 96 a frame at 8 frames a second: a third of the short side each second."""
    assert value("motion_strength", MOVING) == pytest.approx(4 * 8 / 96, rel=0.08)
    assert value("motion_strength", shifting(2.0)) == pytest.approx(2 * 8 / 96, rel=0.08)
    assert value("motion_strength", frozen()) == 0


def test_motion_strength_does_not_depend_on_size_or_frame_rate() -> None:
    slow = value("motion_strength", shifting(4.0, 9))
    assert value("motion_strength", shifting(4 / 3, 25), fps=24.0) == pytest.approx(slow, rel=0.05)
    large = np.repeat(np.repeat(MOVING, 4, axis=1), 4, axis=2)  # 384 pixels: reduced to 256
    assert grey(Footage((large, FPS))).shape == (9, 256, 256)
    assert value("motion_strength", large) == pytest.approx(slow, rel=0.1)


def test_dynamic_degree_has_vbenchs_threshold() -> None:
    """At a short side of 96 the threshold is 6 * 96 / 256 = 2.25 pixels."""
    assert value("dis_dynamic_degree", shifting(2.7)) == 1
    assert value("dis_dynamic_degree", shifting(1.8)) == 0
    assert value("dis_dynamic_degree", frozen()) == 0
    assert "3 sampled frames" in refused("dis_dynamic_degree", frozen(2))


def test_a_clip_that_moves_for_a_quarter_of_its_time_is_dynamic() -> None:
    """17 sampled frames need round(17 / 4) = 4 dynamic steps."""
    for steps, dynamic in ((3, 0.0), (4, 1.0)):
        moving = shifting(6.0, steps + 1)
        clip = np.concatenate([moving, np.repeat(moving[-1:], 16 - steps, axis=0)])
        assert value("dis_dynamic_degree", clip) == dynamic


def test_freeze_share() -> None:
    assert value("freeze_share", frozen()) == 1
    assert value("freeze_share", MOVING) == 0
    half = np.concatenate([MOVING[:5], np.repeat(MOVING[4:5], 4, axis=0)])
    assert value("freeze_share", half) == 0.5
    noise = np.random.default_rng(0).integers(-2, 3, (9, 96, 96, 3))
    assert value("freeze_share", np.clip(frozen() + noise, 0, 255).astype(np.uint8)) == 1  # as a codec leaves it


def test_freeze_share_sees_a_small_thing_move() -> None:
    clip = frozen().copy()
    for i in range(9):
        clip[i, 40:46, 5 * i : 5 * i + 6] = 255
    assert value("freeze_share", clip) == 0


def test_flickering_by_hand() -> None:
    """Brightness 100, 110, 100, ...: every difference is 10, so (255 - 10) / 255."""
    flicker = np.full((9, 16, 16, 3), 100, np.uint8)
    flicker[1::2] = 110
    assert value("temporal_flickering", flicker) == pytest.approx(245 / 255, abs=1e-12)
    assert value("temporal_flickering", frozen()) == 1
    assert value("temporal_flickering", MOVING) < 0.95  # its blind spot: motion counts as flicker


def test_warping_error_forgives_motion_and_not_flicker() -> None:
    moving = value("warping_error", MOVING)
    assert value("warping_error", frozen()) == 0
    assert moving < 0.02
    flicker = MOVING.astype(float)
    flicker[1::2] *= 0.8
    assert value("warping_error", flicker.round().astype(np.uint8)) > 3 * moving
    popping = MOVING.copy()
    popping[::3, 30:60, 30:60] = 255
    assert value("warping_error", popping) > 2 * moving


def test_warping_error_of_a_known_change_of_brightness() -> None:
    """A flat picture that goes from 100 to 110: there is no flow, and the error is 10 / 255."""
    clip = np.full((3, 32, 32, 3), 100, np.uint8)
    clip[1] = 110
    assert value("warping_error", clip) == pytest.approx(10 / 255, abs=1e-6)


def test_sharpness_falls_with_blur() -> None:
    sharp = [value("sharpness", gaussian_filter(MOVING, (0, blur, blur, 0))) for blur in (0.0, 1.0, 2.0, 4.0)]
    variance = [2**value - 1 for value in sharp]
    assert variance == sorted(variance, reverse=True) and variance[0] > 3 * variance[2] > 0
    assert value("sharpness", np.full((3, 16, 16, 3), 77, np.uint8)) == 0


def test_ssim_to_the_reference() -> None:
    assert value("reference_ssim", MOVING, reference=MOVING) == pytest.approx(1, abs=1e-6)
    noise = np.random.default_rng(0).normal(size=MOVING.shape)
    closeness = [
        value("reference_ssim", np.clip(MOVING + sd * noise, 0, 255).astype(np.uint8), reference=MOVING)
        for sd in (5, 15, 40)
    ]
    assert closeness == sorted(closeness, reverse=True) and closeness[0] > 0.8 > 0.6 > closeness[-1]
    assert "no reference clip" in refused("reference_ssim", MOVING)
    assert "another size or length" in refused("reference_ssim", MOVING, reference=MOVING[:-1])


def test_ssim_by_a_straight_reading_of_the_paper() -> None:
    """Weighted moments over every 11x11 window inside, one window after the other."""
    one = texture(20, 24)[..., 0].round()
    two = np.clip(one * 0.8 + texture(20, 24, seed=1)[..., 0] * 0.3, 0, 255).round()
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    values = []
    for top in range(20 - 10):
        for left in range(24 - 10):
            x, y = (image[top : top + 11, left : left + 11] for image in (one, two))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = 6.5025, 58.5225
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(one.astype(np.uint8), two.astype(np.uint8)) == pytest.approx(np.mean(values), abs=1e-4)


def test_motion_similarity_of_known_motions() -> None:
    left, right = shifting(3.0), shifting(3.0, direction=(0, -1))
    assert value("motion_similarity", left, partner=left) == pytest.approx(1, abs=1e-6)
    assert value("motion_similarity", left, partner=frozen()) == pytest.approx(0, abs=1e-6)
    assert value("motion_similarity", left, partner=right) < -0.8
    # Half the speed in the same direction: 2 * 1.5 * 3 / (1.5^2 + 3^2) = 0.8.
    assert value("motion_similarity", left, partner=shifting(1.5)) == pytest.approx(0.8, abs=0.08)
    assert refused("motion_similarity", frozen(), partner=frozen()) == "both clips stand still"
    assert "no partner" in refused("motion_similarity", left)
    assert "another size or length" in refused("motion_similarity", left, partner=left[:4])


def test_small_clips_have_no_flow() -> None:
    assert "flow needs" in refused("motion_strength", frozen(size=8))


def test_the_oracle_is_the_tiny_worlds() -> None:
    scene = draw_scene(0, 0)
    assert value("visual_quality", render(scene), caption=scene.attributes.caption) > 0.9
    with pytest.raises(Exception, match="no clip of the tiny world: caption 'a dog' names no colour"):
        value("visual_quality", render(scene), caption="a dog")


@pytest.mark.parametrize(
    ("metric", "scorer"),
    [
        ("sharpness", "sharpness"),
        ("freeze_share", "freeze"),
        ("temporal_flickering", "flicker"),
        ("warping_error", "warping_error"),
    ],
)
def test_a_metric_and_the_scorer_of_its_kind_say_the_same(metric: str, scorer: str) -> None:
    for frames in (MOVING, frozen(), np.repeat(shifting(5.0, 5), 2, axis=0)):
        for fps in (8.0, 24.0):
            assert find_scorer(scorer).score_frames(frames, fps) == value(metric, frames, fps)


def test_a_clip_is_decoded_once_for_all_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "clip.mp4"
    io.write_video(file, MOVING, FPS)
    calls: list[Path] = []

    def counted(path: Path) -> tuple[io.Frames, float]:
        calls.append(path)
        return io.read_video(path)

    monkeypatch.setattr("densedpo.metrics.footage.read_video", counted)
    clip = Footage(file, reference=Footage((MOVING, FPS)), partner=Footage((frozen(), FPS)))
    tools = Tools()
    found = [
        metric.measure(clip, tools) for metric in METRICS.values() if not metric.needs and metric.source[:3] != "the"
    ]
    assert len(found) == 8 and all(math.isfinite(number) for number in found)
    assert calls == [file]
