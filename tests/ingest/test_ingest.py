"""From a folder to clips: right frames, nothing twice, every refusal with its reason."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import densedpo.ingest
from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.ingest import IngestReport, IngestSettings, ingest
from densedpo.store.checks import validate
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import clip_id, split_of
from densedpo.video.io import Frames, read_video

MakeVideo = Callable[..., Path]


def take(project: Project, folder: Path, **settings: Any) -> IngestReport:
    return ingest(project, folder, IngestSettings(**settings))


def reason(report: IngestReport) -> str:
    """The reason of the only file that was not taken."""
    assert len(report.rejected) == 1
    return report.rejected[0].reason


def test_a_clip_that_fits_is_kept_bit_for_bit(project: Project, folder: Path, video: MakeVideo) -> None:
    path = video("videos/deep/a.mp4", caption="a red ball\n")
    report = take(project, folder, source="mine", licence="CC0")
    assert report == IngestReport(added=1, known=0, rejected=[])
    (clip,) = project.clips()
    digest = file_digest(path)
    assert clip.id == clip_id(digest, 0.0, 9, 8.0, 48, 48)
    assert (clip.caption, clip.source, clip.licence) == ("a red ball", "mine", "CC0")
    assert clip.origin == "videos/deep/a.mp4"
    frames, fps = read_video(project.media_path(clip.media))
    assert np.array_equal(frames, read_video(path)[0])
    assert fps == 8
    assert validate(project, deep=True) == []


def test_the_source_is_read_and_never_changed(project: Project, folder: Path, video: MakeVideo) -> None:
    video("a.mp4", count=20)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    take(project, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_real_footage_of_three_shapes_and_two_rates(tmp_path: Path, folder: Path, real: Path) -> None:
    project = Project.create(tmp_path / "project", ProjectSettings(frames=33, fps=12, width=80, height=48))
    for name in ("bikes", "bigbuckbunny", "carphone_pristine"):
        shutil.copy(real / f"{name}.mp4", folder)
    report = take(project, folder, caption="real footage")
    assert report == IngestReport(added=3, known=0, rejected=[])
    for clip in project.clips():
        frames, fps = read_video(project.media_path(clip.media))
        assert frames.shape == (33, 48, 80, 3)
        assert fps == 12
        source, source_fps = read_video(folder / clip.origin)
        moments = np.ceil(np.arange(33) / 12 * source_fps - 0.5).astype(int)  # nearest, a tie to the earlier
        right, wrong = (distance(frames, middle(source[moments + late])) for late in (0, 2))
        assert right.max() < 4  # gray levels: no more than two ways of scaling differ
        assert right.mean() < wrong.mean() / 1.5
    assert validate(project, deep=True) == []


def middle(frames: Frames) -> Frames:
    """The middle 5:3 of each frame at 80x48, by another way than ingest's: whole pixels, box filter."""
    height, width = frames.shape[1:3]
    keep_y, keep_x = min(height, round(width * 3 / 5)), min(width, round(height * 5 / 3))
    top, left = (height - keep_y) // 2, (width - keep_x) // 2
    cropped = frames[:, top : top + keep_y, left : left + keep_x]
    return np.stack([np.asarray(Image.fromarray(each).resize((80, 48), Image.Resampling.BOX)) for each in cropped])


def distance(left: Frames, right: Frames) -> np.ndarray:
    """Mean absolute difference of each frame, in levels of 255."""
    return np.abs(left.astype(float) - right).mean(axis=(1, 2, 3))


def numbered(count: int) -> Frames:
    """Frame n is a plain grey of brightness n."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 48, 48, 3)).copy()


def taken_numbers(project: Project) -> list[list[int]]:
    """Which frames of a numbered video the clips hold, each clip's in order."""
    clips = [read_video(project.media_path(clip.media))[0] for clip in project.clips()]
    assert all(np.ptp(frames, axis=(1, 2, 3)).max() == 0 for frames in clips)
    return sorted(frames[:, 0, 0, 0].tolist() for frames in clips)


def test_every_third_frame_of_24_fps(project: Project, folder: Path, video: MakeVideo) -> None:
    video(frames=numbered(40), fps=24)
    take(project, folder, start=0.5)
    assert taken_numbers(project) == [[12, 15, 18, 21, 24, 27, 30, 33, 36]]


def test_5_fps_repeats_the_nearest_frames(project: Project, folder: Path, video: MakeVideo) -> None:
    video(frames=numbered(7), fps=5)
    take(project, folder)
    assert taken_numbers(project) == [[0, 1, 1, 2, 2, 3, 4, 4, 5]]  # n * 5 / 8, rounded; 2.5 to the earlier


def test_windows_follow_each_other_without_overlap_and_share_a_split(
    project: Project, folder: Path, video: MakeVideo
) -> None:
    path = video(frames=numbered(30), fps=8)
    assert take(project, folder, windows_per_file=10).added == 3
    assert taken_numbers(project) == [list(range(start, start + 9)) for start in (0, 9, 18)]
    assert {clip.split for clip in project.clips()} == {split_of(file_digest(path))}


def test_clips_of_one_file_never_meet_across_splits(project: Project, folder: Path, video: MakeVideo) -> None:
    for seed in range(30):
        video(f"{seed}.mp4", count=27, seed=seed)
    take(project, folder, windows_per_file=3)
    splits: dict[str, set[str]] = {}
    for clip in project.clips():
        splits.setdefault(clip.origin, set()).add(clip.split)
    assert len(splits) == 30
    assert all(len(each) == 1 for each in splits.values())
    assert len(set.union(*splits.values())) > 1  # else nothing was tested


def test_the_middle_is_kept_and_nothing_is_stretched(project: Project, folder: Path, video: MakeVideo) -> None:
    frames = np.zeros((9, 96, 160, 3), dtype=np.uint8)
    frames[:, :, 32:128] = (0, 200, 0)  # the middle 96x96
    frames[:, 36:60, 68:92] = (250, 0, 0)  # a square of 24
    video(frames=frames)
    take(project, folder)
    (clip,) = project.clips()
    shown = read_video(project.media_path(clip.media))[0][0]
    assert shown[:, [0, -1], 1].min() > 150  # green to the edge: no black bar of the sides is left
    red = shown[..., 0] > 125
    assert red.any(axis=0).sum() == red.any(axis=1).sum() == 12


def test_another_shape_is_refused_without_cropping(project: Project, folder: Path, video: MakeVideo) -> None:
    video("wide.mp4", size=(48, 64))
    video("half.mp4", size=(24, 24), seed=1)
    report = take(project, folder, crop="none")
    assert report.added == 1
    assert report.rejected == [
        ("wide.mp4", "is 64x48, another shape than its clips' 48x48; use crop=center or cut it to shape first")
    ]


def test_too_short(project: Project, folder: Path, video: MakeVideo) -> None:
    video("long.mp4")
    video("short.mp4", count=5, seed=1)
    report = take(project, folder)
    assert reason(report) == "is too short: needs 9 frames = 1.12 s at 8 fps, has 0.62 s from 0 s on"
    assert report.added == 1


def test_too_short_after_the_start(project: Project, folder: Path, video: MakeVideo) -> None:
    video(count=17)
    with pytest.raises(UserError, match=r"has 0\.62 s from 1\.5 s on"):
        take(project, folder, start=1.5)
    with pytest.raises(UserError, match=r"has 0\.00 s from 60 s on"):
        take(project, folder, start=60)


def test_too_few_frames_a_second(project: Project, folder: Path, video: MakeVideo) -> None:
    video("fast.mp4")
    video("slow.mp4", count=20, fps=3, seed=1)
    report = take(project, folder)
    assert reason(report) == "shows 3 frames a second, the project 8: over half of the clip would be repeats"


def test_damaged_files_do_not_stop_the_others(project: Project, folder: Path, video: MakeVideo) -> None:
    video("a.mp4")
    content = video("b.mp4", seed=1).read_bytes()
    (folder / "b.mp4").write_bytes(content[: len(content) // 2])
    video("c.mp4", seed=2)
    report = take(project, folder)
    assert (report.added, report.known) == (2, 0)
    assert report.rejected == [("b.mp4", "is cut short: its index points beyond its end; copy or download it again")]


def test_stop_at_the_first_file_that_cannot_be_taken(project: Project, folder: Path, video: MakeVideo) -> None:
    video("a.mp4")
    video("b.mp4", count=2, seed=1)
    video("c.mp4", seed=2)
    with pytest.raises(UserError, match=r"^b\.mp4: is too short"):
        take(project, folder, on_error="stop")
    assert [clip.origin for clip in project.clips()] == ["a.mp4"]
    (folder / "d.mp4").touch()  # without a caption: known before any file is decoded
    with pytest.raises(UserError, match=r"^d\.mp4: has no caption"):
        take(project, folder, on_error="stop")


def test_nothing_could_be_taken(project: Project, folder: Path, video: MakeVideo) -> None:
    for number in range(25):
        (folder / f"{number:02d}.mp4").write_text("no video")
    with pytest.raises(UserError) as caught:
        take(project, folder, caption="a red ball")
    lines = str(caught.value).split("\n")
    assert lines[0] == f"nothing in {folder} could be taken:"
    assert lines[1] == "  - 00.mp4: is text, not a video; replace it by a real video file"
    assert lines[-1] == "  … and 5 more"
    assert len(lines) == 22


def test_known_clips_are_not_decoded_again(
    project: Project, folder: Path, video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video("a.mp4")
    take(project, folder)
    before = project.fingerprint()
    video("b.mp4", seed=1)
    cut: list[Path] = []
    genuine = densedpo.ingest.cut
    monkeypatch.setattr(densedpo.ingest, "cut", lambda path, *rest: cut.append(path) or genuine(path, *rest))
    assert take(project, folder) == IngestReport(added=1, known=1, rejected=[])
    assert cut == [folder / "b.mp4"]
    after = project.fingerprint()
    assert after != before
    assert take(project, folder) == IngestReport(added=0, known=2, rejected=[])
    assert cut == [folder / "b.mp4"]
    assert project.fingerprint() == after


def test_more_windows_later_add_only_the_new_ones(project: Project, folder: Path, video: MakeVideo) -> None:
    video(frames=numbered(27))
    take(project, folder)
    assert take(project, folder, windows_per_file=5) == IngestReport(added=2, known=1, rejected=[])
    assert taken_numbers(project) == [list(range(start, start + 9)) for start in (0, 9, 18)]
    assert take(project, folder, windows_per_file=5) == IngestReport(added=0, known=3, rejected=[])


def test_a_copy_of_a_file_is_known(project: Project, folder: Path, video: MakeVideo) -> None:
    video("a.mp4")
    video("b.mp4")
    assert take(project, folder) == IngestReport(added=1, known=1, rejected=[])


def test_another_caption_for_a_known_clip_is_told(project: Project, folder: Path, video: MakeVideo) -> None:
    path = video("a.mp4", caption="a red ball")
    take(project, folder)
    path.with_suffix(".txt").write_text("a blue ball")
    with pytest.raises(UserError, match=r"with the caption 'a red ball', not 'a blue ball'"):
        take(project, folder)
    assert [clip.caption for clip in project.clips()] == ["a red ball"]


@pytest.mark.parametrize("step", ["write_video", "adopt", "add_clips"])
def test_killed_and_run_again(
    tmp_path: Path,
    project: Project,
    folder: Path,
    video: MakeVideo,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Killed at the second clip, just before or just after a step: the end is as without it, nothing left over."""
    for seed in range(3):
        video(f"{seed}.mp4", seed=seed)
    owner: Any = densedpo.ingest if step == "write_video" else project
    genuine = getattr(owner, step)
    for after in (False, True):
        calls: list[None] = []

        def dying(*arguments: Any, after: bool = after, calls: list[None] = calls) -> Any:
            calls.append(None)
            if len(calls) == 2 and not after:
                raise KeyboardInterrupt
            result = genuine(*arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(owner, step, dying)
        with pytest.raises(KeyboardInterrupt):
            take(project, folder)
        monkeypatch.setattr(owner, step, genuine)
        for clip in project.clips():
            assert len(read_video(project.media_path(clip.media))[0]) == 9
    (project.cache_folder("ingest") / ".half.mp4.tmp").touch()  # what a kill in the middle of writing leaves
    report = take(project, folder)
    assert (report.added + report.known, report.rejected) == (3, [])
    assert list(project.cache_folder("ingest").iterdir()) == []
    assert validate(project, deep=True) == []
    untouched = Project.create(tmp_path / "untouched", project.settings)
    take(untouched, folder)
    assert project.fingerprint() == untouched.fingerprint()


def test_a_full_disk_is_no_fault_of_the_file(
    project: Project, folder: Path, video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video()

    def full(*_: Any) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(densedpo.ingest, "write_video", full)
    with pytest.raises(UserError, match=r"^the disk is full$"):
        take(project, folder)


def test_a_file_that_vanishes_meanwhile(
    project: Project, folder: Path, video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video("a.mp4")
    video("b.mp4", seed=1)
    genuine = densedpo.ingest.find_sources

    def find_then_lose(*arguments: Any) -> Any:
        found = genuine(*arguments)
        os.unlink(folder / "a.mp4")
        return found

    monkeypatch.setattr(densedpo.ingest, "find_sources", find_then_lose)
    report = take(project, folder)
    assert report.rejected == [("a.mp4", "cannot be read: No such file or directory; check its permissions")]
    assert report.added == 1


def test_the_audit_log_tells_of_it(project: Project, folder: Path, video: MakeVideo) -> None:
    video("a.mp4")
    video("b.mp4", count=2)
    take(project, folder)
    details = [event.detail for event in project.events() if event.kind == "ingest"]
    assert details == [{"folder": "clips", "added": 1, "known": 0, "rejected": 1}]
