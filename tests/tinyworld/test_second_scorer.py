"""The second scorer: independent of the oracle, right about renders, and of the same mind about spoiled clips."""

import ast
import dataclasses
from pathlib import Path

import defects
import numpy as np
import pytest
from more_defects import spoiled
from numpy.typing import NDArray
from test_oracle import ASPECTS, arbitrary, assert_no_leak, scene_of, still, true_speed

import densedpo.tinyworld
from densedpo.tinyworld.agreement import agreement
from densedpo.tinyworld.second_scorer import SecondScores, second_score
from densedpo.tinyworld.world import SHAPES, Scene, render

ROOM = Path(densedpo.tinyworld.__file__).parent


def imported(file: Path) -> set[str]:
    """The modules of this package that a file imports; `from a import b` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "written out in full, so that this test sees it"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("densedpo")}


def test_it_shares_no_code_with_the_oracle() -> None:
    own = {"densedpo.tinyworld.world", "densedpo.tinyworld.second_look"}
    common = {"BACKGROUNDS", "COLOURS", "SHAPES", "Attributes", "parse_caption"}
    for name in ("second_scorer", "second_look"):
        for module in imported(ROOM / f"{name}.py"):
            assert any(module == allowed or module.startswith(f"{allowed}.") for allowed in own), module
            if module.startswith("densedpo.tinyworld.world."):
                assert module.rsplit(".", 1)[1] in common
    for name in ("oracle", "templates", "tracking", "world"):
        assert not any("second" in module for module in imported(ROOM / f"{name}.py"))


@pytest.fixture(scope="module")
def renders() -> list[tuple[Scene, SecondScores]]:
    scenes = [defects.any_scene(11, item) for item in range(300)]
    return [(scene, second_score(render(scene), scene.attributes.caption)) for scene in scenes]


@pytest.mark.parametrize("aspect", ASPECTS)
def test_real_renders_score_about_one(renders: list[tuple[Scene, SecondScores]], aspect: str) -> None:
    scores = np.array([getattr(scored, aspect) for _, scored in renders])
    assert scores.min() > 0.95
    assert scores.max() <= 1.0


def test_renders_do_not_leak_speed(renders: list[tuple[Scene, SecondScores]]) -> None:
    assert_no_leak([scene for scene, _ in renders], [scored for _, scored in renders])  # type: ignore[misc]


def test_dynamic_degree_is_the_true_speed(renders: list[tuple[Scene, SecondScores]]) -> None:
    true = np.array([true_speed(scene) for scene, _ in renders])
    error = np.array([scored.dynamic_degree for _, scored in renders]) / true - 1
    print("largest", np.sort(np.abs(error))[-5:].round(3))
    assert np.mean(np.abs(error) < 0.05) > 0.98
    assert np.abs(error).max() < 0.12


@pytest.mark.parametrize(
    "defect", ["flickering", "popping", "pulsing", "vanished", "with_block", "melted", "jittering"]
)
def test_defects_of_a_still_clip_are_not_motion(defect: str) -> None:
    scenes = [still(scene_of(shape, number)) for number, shape in enumerate([*SHAPES, *SHAPES])]
    clips = [getattr(defects, defect)(scene, 0.7) for scene in scenes]
    pairs = zip(clips, scenes, strict=True)
    speeds = [second_score(frames, scene.attributes.caption).dynamic_degree for frames, scene in pairs]
    print(np.round(speeds, 3))
    assert max(speeds) < 0.1


@pytest.mark.parametrize("word", ["colour", "background", "direction", "shape", "spinning"])
def test_a_wrong_word_costs_text_alignment_only(word: str) -> None:
    scene = scene_of("cross", 3, direction="vertically", speed_word="quickly")
    wrong = {"colour": "blue", "background": "grey", "direction": "horizontally", "shape": "star", "spinning": True}
    asked = dataclasses.replace(scene.attributes, **{word: wrong[word]})  # type: ignore[arg-type]
    right, other = (second_score(render(scene), said.caption) for said in (scene.attributes, asked))
    assert other.text_alignment < 0.82  # one of four or five things said is wrong
    assert other.temporal_consistency == right.temporal_consistency
    assert other.dynamic_degree == right.dynamic_degree
    assert other.visual_quality > (0.75 if word == "shape" else 0.99)


def test_a_round_blob_in_place_of_a_star_is_a_melted_star() -> None:
    assert second_score(render(scene_of("circle")), scene_of("star").attributes.caption).visual_quality < 0.5


def test_without_its_object_a_clip_is_worth_nothing() -> None:
    scene = scene_of("star")
    assert second_score(defects.vanished(scene, 1.0), scene.attributes.caption) == SecondScores(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", arbitrary())
def test_arbitrary_pixels_have_finite_low_scores(name: str) -> None:
    frames: NDArray[np.uint8] = arbitrary()[name]
    scores = second_score(frames, "a red star moves diagonally and spins on a navy background")
    assert all(0.0 <= getattr(scores, aspect) < 0.5 for aspect in ASPECTS)
    assert 0.0 <= scores.dynamic_degree < 100.0


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 7])
def test_short_clips_are_scored_too(frames: int) -> None:
    scene = scene_of("square")
    scores = second_score(render(scene)[:frames], scene.attributes.caption)
    assert min(scores.visual_quality, scores.text_alignment, scores.temporal_consistency) > 0.9


def test_the_two_scorers_agree_on_spoiled_clips() -> None:
    clips, captions = zip(*(spoiled(item) for item in range(112)), strict=True)
    found = agreement(clips, captions)
    print({name: round(value, 3) for name, value in found.items()})
    del found["text_alignment"]  # most of these clips are as told, and the order of perfect scores says nothing
    assert min(found.values()) >= 0.8


def test_a_score_without_order_agrees_with_nothing() -> None:
    scene = scene_of("star")
    clips = [defects.vanished(scene, 1.0)] * 3
    assert np.isnan(list(agreement(clips, [scene.attributes.caption] * 3).values())).all()
