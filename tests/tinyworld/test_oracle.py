"""The oracle sees planted defects in the order of their strength, and nothing but motion in motion."""

import dataclasses

import defects
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from densedpo.tinyworld.oracle import Scores, score_clip
from densedpo.tinyworld.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    Attributes,
    Scene,
    draw_scene,
    render,
    sample_scene,
)

SEGMENTS = ((0, 8), (8, 16), (16, 24), (24, 33))
ASPECTS = ("visual_quality", "text_alignment", "temporal_consistency")
STRENGTHS = (0.0, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
AFFECTED = {
    "melted": "visual_quality",
    "blurred": "visual_quality",
    "bled": "visual_quality",
    "with_block": "visual_quality",
    "ghosted": "visual_quality",
    "bad_start": "visual_quality",
    "vanished": "visual_quality",
    "recoloured": "text_alignment",
    "popping": "temporal_consistency",
    "flickering": "temporal_consistency",
    "pulsing": "temporal_consistency",
    "reshaped": "temporal_consistency",
    "jittering": "temporal_consistency",
    "frozen": "dynamic_degree",
}


def whole(frames: NDArray[np.uint8], caption: str) -> Scores:
    return score_clip(frames, caption).whole


def scene_of(shape: str, number: int = 0, **said: object) -> Scene:
    asked = Attributes("red", shape, "navy")
    with defects.more_speed():
        return sample_scene(np.random.default_rng([5, number]), dataclasses.replace(asked, **said))  # type: ignore[arg-type]


def still(scene: Scene) -> Scene:
    """The scene without motion, far enough from the walls to tremble."""
    middle = np.clip(scene.centres[:1], 14, 34)
    return dataclasses.replace(scene, centres=np.repeat(middle, len(scene.centres), axis=0))


def true_speed(scene: Scene) -> float:
    """Mean speed along the path. Within a second it is constant, but for the steps that meet a wall: hence medians."""
    steps = np.abs(np.diff(scene.centres, axis=0))
    return float(np.mean([np.hypot(*np.median(steps[first : first + 8], axis=0)) for first in range(0, 32, 8)]))


@pytest.fixture(scope="module")
def renders() -> list[tuple[Scene, Scores, tuple[Scores, ...]]]:
    scenes = [defects.any_scene(11, item) for item in range(300)]
    scored = [score_clip(render(scene), scene.attributes.caption, SEGMENTS) for scene in scenes]
    return [(scene, clip.whole, clip.segments) for scene, clip in zip(scenes, scored, strict=True)]


@pytest.mark.parametrize("aspect", ASPECTS)
def test_real_renders_score_about_one_whatever_shape_spin_and_speed(
    renders: list[tuple[Scene, Scores, tuple[Scores, ...]]], aspect: str
) -> None:
    scores = np.array([getattr(clip, aspect) for _, clip, _ in renders])
    by_segment = np.array([[getattr(part, aspect) for part in parts] for _, _, parts in renders])
    assert scores.min() > 0.97
    assert by_segment.min() > 0.9
    assert max(scores.max(), by_segment.max()) <= 1.0


def assert_no_leak(scenes: list[Scene], scores: list[Scores]) -> None:
    """No aspect is correlated with the logarithm of the speed."""
    values = np.array([[getattr(clip, aspect) for aspect in ASPECTS] for clip in scores])
    pace = np.log([true_speed(scene) for scene in scenes])
    spread = np.maximum(values.std(axis=0), 1e-6)  # a constant leaks nothing
    correlation = ((values - values.mean(axis=0)) * (pace - pace.mean())[:, None]).mean(axis=0) / spread / pace.std()
    print("spread", values.std(axis=0).round(4), "correlation with log speed", correlation.round(3))
    assert np.abs(correlation).max() < 0.1


def test_renders_do_not_leak_speed(renders: list[tuple[Scene, Scores, tuple[Scores, ...]]]) -> None:
    assert_no_leak([scene for scene, _, _ in renders], [scores for _, scores, _ in renders])


def test_softened_renders_do_not_leak_speed() -> None:
    """Blurred and noisy, as out of an autoencoder, so that no score is constant."""
    scenes = [defects.any_scene(13, item) for item in range(300)]
    noise = np.random.default_rng(0).normal(0, 2.5, (33, 48, 48, 3))
    softened = [np.clip(defects.blurred(scene, 0.25) + noise, 0, 255).astype(np.uint8) for scene in scenes]
    scores = [whole(frames, scene.attributes.caption) for frames, scene in zip(softened, scenes, strict=True)]
    assert np.std([clip.visual_quality for clip in scores]) > 0.005
    assert_no_leak(scenes, scores)


def test_dynamic_degree_is_the_true_speed(renders: list[tuple[Scene, Scores, tuple[Scores, ...]]]) -> None:
    true = np.array([true_speed(scene) for scene, _, _ in renders])
    error = np.array([clip.dynamic_degree for _, clip, _ in renders]) / true - 1
    assert np.mean(np.abs(error) < 0.05) > 0.98
    assert np.abs(error).max() < 0.12
    for low, high in ((0.0, 0.7), (0.7, 2.0), (2.0, 6.0)):
        assert abs(error[(true >= low) & (true < high)].mean()) < 0.02


def test_dynamic_degree_is_the_true_speed_of_the_worlds_own_clips() -> None:
    """They are slower, down to a thirtieth of a pixel a frame."""
    scenes = [draw_scene(11, item) for item in range(300)]
    true = np.array([true_speed(scene) for scene in scenes])
    measured = [whole(render(scene), scene.attributes.caption).dynamic_degree for scene in scenes]
    error = np.array(measured) / true - 1
    assert np.mean(np.abs(error) < 0.05) > 0.98
    assert np.abs(error).max() < 0.12
    assert abs(error[true < 0.2].mean()) < 0.02
    assert abs(error[true >= 0.2].mean()) < 0.02


def test_segments_have_their_own_speeds() -> None:
    x = 12 + np.minimum(np.arange(33), 16) * 1.5  # stops half way
    scene = dataclasses.replace(scene_of("square"), centres=np.stack([x, np.full(33, 24.0)], axis=1))
    scores = score_clip(render(scene), scene.attributes.caption, SEGMENTS)
    assert scores.segments[0].dynamic_degree == pytest.approx(1.5, rel=0.03)
    assert scores.segments[3].dynamic_degree < 0.03
    assert scores.whole.dynamic_degree == pytest.approx(0.75, rel=0.05)


@pytest.mark.parametrize("defect", ["flickering", "popping", "pulsing", "vanished", "with_block", "melted", "ghosted"])
def test_defects_of_a_still_clip_are_not_motion(defect: str) -> None:
    for number, shape in enumerate(SHAPES):
        scene = still(scene_of(shape, number))
        assert whole(getattr(defects, defect)(scene, 0.8), scene.attributes.caption).dynamic_degree < 0.1


@pytest.mark.parametrize("strength", [0.2, 0.35, 0.7])
def test_jitter_of_a_still_clip_is_not_motion(strength: float) -> None:
    scenes = [still(scene_of(shape, number)) for shape in SHAPES for number in range(4)]
    speeds = [whole(defects.jittering(scene, strength), scene.attributes.caption).dynamic_degree for scene in scenes]
    assert np.mean(speeds) < 0.05
    assert np.quantile(speeds, 0.9) < 0.1


@pytest.mark.parametrize("defect", AFFECTED)
@pytest.mark.parametrize("shape", ["circle", "square", "star", "cross"])
def test_stronger_defects_score_lower(defect: str, shape: str) -> None:
    if defect == "melted" and shape == "circle":
        shape = "triangle"  # a circle has no corners to melt
    scene = scene_of(shape, len(shape), direction="diagonally")
    clips = [getattr(defects, defect)(scene, strength) for strength in STRENGTHS]
    scores = [getattr(whole(frames, scene.attributes.caption), AFFECTED[defect]) for frames in clips]
    assert spearmanr(STRENGTHS, scores).statistic <= -0.95
    assert scores[-1] < 0.85 * scores[0]


def test_a_frozen_clip_loses_motion_and_gains_nothing_else() -> None:
    for item in range(30):
        scene = defects.any_scene(17, item)
        real, frozen = (
            whole(frames, scene.attributes.caption) for frames in (render(scene), defects.frozen(scene, 1.0))
        )
        assert frozen.dynamic_degree < 0.02
        assert all(getattr(frozen, aspect) <= getattr(real, aspect) + 0.03 for aspect in ASPECTS)


def test_without_its_object_a_clip_is_worth_nothing() -> None:
    scene = scene_of("star")
    scored = score_clip(defects.vanished(scene, 1.0), scene.attributes.caption)
    assert scored.whole == Scores(0.0, 0.0, 0.0, 0.0)
    assert scored.details["empty"] == 1.0


@pytest.mark.parametrize("word", ["colour", "background", "direction", "shape", "spinning"])
@pytest.mark.parametrize("shape", ["square", "triangle", "star", "cross"])
def test_a_wrong_word_costs_text_alignment_only(word: str, shape: str) -> None:
    scene = scene_of(shape, 3, direction="vertically", speed_word="quickly")
    wrong = {
        "colour": "blue",
        "background": "grey",
        "direction": "horizontally",
        "shape": "square" if shape == "star" else "star",
        "spinning": True,
    }
    asked = dataclasses.replace(scene.attributes, **{word: wrong[word]})  # type: ignore[arg-type]
    right, other = whole(render(scene), scene.attributes.caption), whole(render(scene), asked.caption)
    assert other.text_alignment < 0.82  # one of four or five things said is wrong
    assert other.temporal_consistency == right.temporal_consistency
    assert other.dynamic_degree == right.dynamic_degree
    assert other.visual_quality > (0.75 if word == "shape" else 0.99)


def test_a_round_blob_in_place_of_a_star_is_a_melted_star() -> None:
    circle = render(scene_of("circle"))
    assert whole(circle, scene_of("star").attributes.caption).visual_quality < 0.5
    assert whole(circle, scene_of("circle").attributes.caption).visual_quality > 0.97


def test_speed_words_do_not_count() -> None:
    frames = render(scene_of("cross", speed_word="quickly"))
    captions = [scene_of("cross", speed_word=word).attributes.caption for word in ("", "slowly", "quickly")]
    assert len({whole(frames, caption) for caption in captions}) == 1


def test_details_tell_every_colour_shape_and_background_apart() -> None:
    for number, (colour, background) in enumerate((c, b) for c in COLOURS for b in BACKGROUNDS):
        shape = list(SHAPES)[number % len(SHAPES)]
        scene = scene_of(shape, number, colour=colour, background=background)
        frames = render(scene)[:3]
        for other in COLOURS:
            caption = dataclasses.replace(scene.attributes, colour=other).caption
            assert (score_clip(frames, caption).details["colour"] > 0.5) == (other == colour)
        for other in BACKGROUNDS:
            caption = dataclasses.replace(scene.attributes, background=other).caption
            assert (score_clip(frames, caption).details["background"] > 0.5) == (other == background)
        for other in SHAPES:
            caption = dataclasses.replace(scene.attributes, shape=other).caption
            assert (score_clip(frames, caption).details["shape"] > 0.5) == (other == shape)


def arbitrary() -> dict[str, NDArray[np.uint8]]:
    draws = np.random.default_rng(0)
    half = np.zeros((33, 48, 48, 3), dtype=np.uint8)
    half[:, :, 24:] = 255
    return {
        "black": np.zeros((33, 48, 48, 3), dtype=np.uint8),
        "white": np.full((33, 48, 48, 3), 255, dtype=np.uint8),
        "noise": draws.integers(0, 256, (33, 48, 48, 3), dtype=np.uint8),
        "half": half,
        "one pixel": np.where(np.arange(48 * 48 * 3).reshape(48, 48, 3) < 3, 255, half[:1] * 0).astype(np.uint8),
        "small": draws.integers(0, 256, (9, 4, 6, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", arbitrary())
def test_arbitrary_pixels_have_finite_low_scores(name: str) -> None:
    caption = "a red star moves diagonally and spins on a navy background"
    scores = whole(arbitrary()[name], caption)
    assert all(0.0 <= getattr(scores, aspect) < 0.3 for aspect in ASPECTS)
    assert 0.0 <= scores.dynamic_degree < 100.0


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 7])
def test_short_clips_are_scored_too(frames: int) -> None:
    scene = scene_of("square")
    scores = whole(render(scene)[:frames], scene.attributes.caption)
    assert min(scores.visual_quality, scores.text_alignment, scores.temporal_consistency) > 0.9


@pytest.mark.parametrize("segment", [(0, 0), (8, 4), (30, 34), (-1, 3)])
def test_a_segment_outside_the_clip_is_refused(segment: tuple[int, int]) -> None:
    scene = scene_of("square")
    with pytest.raises(ValueError, match="is no part of a clip of 33 frames"):
        score_clip(render(scene), scene.attributes.caption, [segment])
