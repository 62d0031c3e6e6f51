"""The static test: frozen copies against moving originals, for scorers and for any other labeller."""

from pathlib import Path

import numpy as np
import pytest

from densedpo.errors import UserError
from densedpo.judges.scorers import ScorerError, find_scorers
from densedpo.judges.static import (
    Footage,
    StaticChoice,
    StaticOutcome,
    StaticPair,
    footage,
    record_static_test,
    recorded_static_tests,
    scorer_static_test,
    static_pairs,
    static_test,
)
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, clip_id
from densedpo.tinyworld.world import FPS, Attributes, render, sample_scene
from densedpo.video.io import Frames, write_video

ASKED = Attributes("red", "star", "navy", speed_word="quickly")


def moving(number: int) -> Frames:
    return render(sample_scene(np.random.default_rng(number), ASKED, 9)).copy()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "project", ProjectSettings(frames=9, fps=FPS))
    for number in range(3):
        path = tmp_path / "clip.mp4"
        write_video(path, moving(number), FPS)
        project.add_clips(
            [
                Clip(
                    id=clip_id(f"file {number}", 0, 9, FPS, 48, 48),
                    media=project.adopt(path),
                    caption=ASKED.caption,
                    frames=9,
                    fps=FPS,
                    width=48,
                    height=48,
                    source="test",
                    licence="CC0",
                    split="train",
                    origin="",
                )
            ]
        )
    return project


def test_a_frozen_copy_repeats_one_frame_and_still_clips_are_left_out() -> None:
    clip = Footage("m", "red", FPS, moving(1))
    still = Footage("s", "red", FPS, np.repeat(clip.frames[:1], 9, axis=0))
    single = Footage("1", "red", FPS, clip.frames[:1])
    (pair,) = static_pairs([still, clip, single])
    assert pair.id == "m"
    np.testing.assert_array_equal(pair.moving, clip.frames)
    assert np.ptp(pair.frozen, axis=0).max() == 0
    assert any(np.array_equal(pair.frozen[0], frame) for frame in clip.frames)


def test_the_frozen_frame_is_drawn_by_the_clips_id() -> None:
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * 20 * np.ones((1, 4, 4, 3), np.uint8)
    clips = [Footage(str(number), "", FPS, frames) for number in range(200)]
    places = [int(pair.frozen.max()) // 20 for pair in static_pairs(clips)]
    assert places == [int(pair.frozen.max()) // 20 for pair in static_pairs(clips)]
    assert min(np.bincount(places, minlength=9)) > 8  # 22 each on average


def test_any_labeller_can_take_the_test(project: Project) -> None:
    def likes_stillness(pair: StaticPair) -> StaticChoice:
        if pair.id == sorted(clip.id for clip in project.clips())[0]:
            raise ScorerError("no answer")
        return "frozen" if np.ptp(pair.frozen, axis=0).max() == 0 else "moving"

    outcome = static_test(likes_stillness, static_pairs(footage(project, 10)))
    assert outcome == StaticOutcome(moving=0, frozen=2, ties=0, failed=1)
    assert outcome.decisive == 2


@pytest.mark.parametrize(("name", "frozen"), [("flicker", 3), ("warping_error", 3), ("freeze", 0)])
def test_scorers_choose_as_they_say_they_do(project: Project, name: str, frozen: int) -> None:
    scorer = find_scorers()[name]
    outcome = scorer_static_test(project, scorer, "v", 10, 0.0)
    assert (outcome.frozen, outcome.moving) == (frozen, 3 - frozen)
    assert {"prefers": 3, "avoids": 0}[scorer.about.stillness] == frozen
    assert list(project.cache_folder("static-test").iterdir()) == []


def test_the_latest_test_of_each_labeller_is_found_again(project: Project) -> None:
    scorer = find_scorers()["sharpness"]
    assert scorer_static_test(project, scorer, "v", 2, 99.0).ties == 2
    record_static_test(project, "vlm", "judge", "1", StaticOutcome(1, 9, 0, 0))
    record_static_test(project, "vlm", "judge", "1", StaticOutcome(5, 5, 0, 0))
    found = recorded_static_tests(project)
    assert [(each["annotator"], each["moving"], each["ties"]) for each in found] == [
        ("sharpness", 0, 2),
        ("judge", 5, 0),
    ]


def test_no_footage_is_a_clear_message(tmp_path: Path) -> None:
    empty = Project.create(tmp_path / "empty", ProjectSettings())
    with pytest.raises(UserError, match="has no clips for the static test"):
        list(footage(empty, 3))
