"""Several sizes and lengths: which one a file's clips get, and that one of each is what it always was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densedpo.cli import run
from densedpo.files import file_digest
from densedpo.ingest import IngestReport, IngestSettings, ingest, preview
from densedpo.ingest.clips import Asked
from densedpo.store.checks import validate
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import clip_id
from densedpo.store.shapes import Shape, shape_of
from densedpo.video.fitting import nearest_size
from densedpo.video.io import read_video

MakeVideo = Callable[..., Path]
SIZES = ("64x48", "48x64", "48x48")


def take(project: Project, folder: Path, **settings: Any) -> IngestReport:
    return ingest(project, folder, IngestSettings(**settings))


def shapes(project: Project) -> dict[str, Shape]:
    return {clip.origin: shape_of(clip) for clip in project.clips()}


LANDSCAPE, PORTRAIT, SQUARE, SMALL = (832, 480), (480, 832), (512, 512), (416, 240)


@pytest.mark.parametrize(
    ("video", "size"),
    [
        ((1920, 1080), LANDSCAPE),  # 16:9 is 2.5% from 832:480
        ((1080, 1920), PORTRAIT),
        ((1000, 1000), SQUARE),
        ((1000, 750), LANDSCAPE),  # 832:480 is 1.30 times 4:3, which is 1.33 times a square
        ((640, 360), SMALL),  # too small for 832x480, which is as near
        ((360, 640), PORTRAIT),  # too small for all: the nearest shape
        ((300, 200), SMALL),  # too small for all: the smallest of the nearest shape
    ],
)
def test_a_video_takes_the_nearest_size_that_it_is_large_enough_for(
    video: tuple[int, int], size: tuple[int, int]
) -> None:
    offered = [SQUARE, SMALL, LANDSCAPE, PORTRAIT]
    assert nearest_size(*video, offered) == size
    assert nearest_size(*video, offered[::-1]) == size


def test_each_file_goes_to_its_bucket_and_nothing_is_stretched(
    project: Project, folder: Path, video: MakeVideo
) -> None:
    frames = np.full((9, 60, 100, 3), 10, np.uint8)
    frames[:, 20:40, 40:60] = 250  # a square in the middle stays one
    video("wide.mp4", frames=frames)
    video("tall.mp4", size=(100, 60), seed=1)
    video("square.mp4", size=(50, 51), seed=2)
    assert take(project, folder, sizes=SIZES) == IngestReport(added=3, known=0, rejected=[])
    assert shapes(project) == {
        "wide.mp4": Shape(9, 64, 48),
        "tall.mp4": Shape(9, 48, 64),
        "square.mp4": Shape(9, 48, 48),
    }
    (wide,) = [clip for clip in project.clips() if clip.origin == "wide.mp4"]
    shown = read_video(project.media_path(wide.media))[0]
    assert shown.shape == (9, 48, 64, 3)
    bright = shown[4, ..., 0] > 130
    assert bright.any(axis=0).sum() == bright.any(axis=1).sum() == 16
    assert validate(project, deep=True) == []
    assert take(project, folder, sizes=SIZES) == IngestReport(added=0, known=3, rejected=[])


def test_each_clip_is_as_long_as_the_file_still_fills(project: Project, folder: Path, video: MakeVideo) -> None:
    path = video(count=40)  # 17 and 17 frames; of the 6 left neither 17 nor 9
    video("short.mp4", count=12, seed=1)
    video("shorter.mp4", count=5, seed=2)
    report = take(project, folder, frames=(9, 17), windows_per_file=5)
    assert report.rejected == [
        ("shorter.mp4", "is too short: needs 9 frames = 1.12 s at 8 fps, has 0.62 s from 0 s on"),
    ]
    assert report.added == 3
    digest = file_digest(path)
    long = {clip_id(digest, start, 17, 8.0, 48, 48) for start in (0.0, 17 / 8)}
    assert {clip.id for clip in project.clips() if clip.origin == "a.mp4"} == long
    assert shapes(project)["short.mp4"] == Shape(9, 48, 48)
    assert {len(read_video(project.media_path(clip.media))[0]) for clip in project.clips()} == {9, 17}


def test_the_rest_of_a_file_becomes_a_shorter_clip(project: Project, folder: Path, video: MakeVideo) -> None:
    path = video(count=30)
    assert take(project, folder, frames=(17, 9), windows_per_file=3).added == 2
    source = read_video(path)[0]
    taken = {clip.frames: read_video(project.media_path(clip.media))[0] for clip in project.clips()}
    assert np.array_equal(taken[17], source[:17])
    assert np.array_equal(taken[9], source[17:26])


@pytest.mark.parametrize("fps", [8.0, 24.0, 29.97])
def test_one_shape_gives_the_starts_that_it_always_gave(fps: float) -> None:
    """To the last bit, for they are in clips' ids."""
    asked = Asked.of(IngestSettings(start=0.1, windows_per_file=40), ProjectSettings(frames=81, fps=fps))
    always = [0.1 + window * (81 / fps) for window in range(40)]
    assert [window.start for window in asked.windows((48, 48), 1e6)] == always
    assert [window.start for window in asked.blind() or []] == always


def test_a_size_of_its_own_is_as_a_project_of_that_size(
    project: Project, folder: Path, tmp_path: Path, video: MakeVideo
) -> None:
    video("wide.mp4", size=(60, 100), count=20)
    like = Project.create(tmp_path / "like", ProjectSettings(frames=17, fps=8, width=64, height=48))
    take(like, folder)
    take(project, folder, sizes=("64x48",), frames=(17,))
    assert [(c.id, c.media, c.split) for c in project.clips()] == [(c.id, c.media, c.split) for c in like.clips()]


def test_other_shapes_without_cropping_are_refused(project: Project, folder: Path, video: MakeVideo) -> None:
    video("wide.mp4", size=(96, 128))
    video("wider.mp4", size=(48, 100), seed=1)
    report = take(project, folder, sizes=SIZES, crop="none")
    told = "is 100x48, another shape than its clips' 64x48; use crop=center or cut it to shape first"
    assert report.rejected == [("wider.mp4", told)]
    assert shapes(project) == {"wide.mp4": Shape(9, 64, 48)}


def test_a_look_ahead_says_what_would_be_there_and_takes_nothing(
    project: Project, folder: Path, video: MakeVideo
) -> None:
    video("wide.mp4", size=(60, 100), count=30)
    video("tall.mp4", size=(100, 60), seed=1)
    video("short.mp4", count=5, seed=2)
    settings = IngestSettings(sizes=SIZES, frames=(9, 17), windows_per_file=3)
    counts, rejected = preview(project, folder, settings)
    assert counts == {Shape(17, 64, 48): 1, Shape(9, 64, 48): 1, Shape(9, 48, 64): 1}
    assert [each.file for each in rejected] == ["short.mp4"]
    assert not list(project.clips())
    ingest(project, folder, settings)
    assert sorted(shape_of(clip) for clip in project.clips()) == sorted(counts.elements())


@pytest.mark.parametrize("wrong", [{"sizes": ("64",)}, {"sizes": ("0x48",)}, {"sizes": ()}, {"frames": (0,)}])
def test_what_is_no_shape_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IngestSettings(**wrong)


def test_the_command_says_how_many_clips_each_bucket_has(
    tmp_path: Path, folder: Path, video: MakeVideo, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tiny"
    Project.create(root, ProjectSettings(frames=9))
    video("wide.mp4", size=(60, 100), count=30)
    video("tall.mp4", size=(100, 60), seed=1)
    command = ["ingest", str(root), str(folder), "--sizes", "64x48", "48x64", "--frames", "9", "17"]
    assert run([*command, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["shapes"]
    assert said == [
        {"frames": 9, "width": 48, "height": 64, "count": 1},
        {"frames": 17, "width": 64, "height": 48, "count": 1},
    ]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "1 clips of 48x64, 9 frames" in shown
    assert "1 clips of 64x48, 17 frames" in shown
    assert run(["ingest", str(root), str(folder), "--sizes", "50x48", "--frames", "9"]) == 2
    refusal = capsys.readouterr().err
    assert "tinyworld cannot take clips of 50x48, 9 frames: width 50 does not fit this model" in refusal
    assert run(["ingest", str(root), str(folder), "--frames", "12"]) == 2
    assert "12 frames do not fit this model (1 + 4k): use 9 or 13" in capsys.readouterr().err
    assert len(list(Project.open(root).clips())) == 2
