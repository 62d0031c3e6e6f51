"""VideoGen-RewardBench: a line is a pair, a verdict a label; a mistake anywhere and there is neither."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from import_files import FPS, FRAMES, SIZE, frames_of, make, nothing_in

from densedpo.errors import UserError
from densedpo.labels.imported import import_rewardbench
from densedpo.store.checks import validate
from densedpo.store.exchange import export_rewardbench
from densedpo.store.project import Project
from densedpo.video.fitting import first_clip, fit
from densedpo.video.io import read_video, write_video

COLUMNS = ("path_A", "path_B", "A_model", "B_model", "prompt", "VQ", "MQ", "TA", "Overall")
FIRST = ("a.mp4", "sub/b.mp4", "one", "two", 'a "red", ball', "A", "same", "B", "A")
SECOND = ("sub/b.mp4", "c.mp4", "two", "three", "a blue ball", "", "invalid", "same", "B")


def table(path: Path, *rows: Any, columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def verdicts(project: Project) -> set[tuple[str, str, str]]:
    prompts = {pair.id: pair.prompt for pair in project.pairs()}
    return {(prompts[label.pair], label.aspect, label.choice) for label in project.labels()}


def test_lines_become_pairs_and_labels(tmp_path: Path) -> None:
    project = make(tmp_path)
    file = table(tmp_path / "bench.csv", FIRST, SECOND)
    report = import_rewardbench(project, file, tmp_path / "videos")
    assert (report.pairs, report.labels, report.conflicts) == (2, 6, 0)
    assert "2 verdicts are empty or invalid and made no label" in report.notes
    assert verdicts(project) == {
        ('a "red", ball', "visual_quality", "a"),
        ('a "red", ball', "motion", "tie"),
        ('a "red", ball', "text_alignment", "b"),
        ('a "red", ball', "overall", "a"),
        ("a blue ball", "text_alignment", "tie"),
        ("a blue ball", "overall", "b"),
    }
    for pair in project.pairs():
        assert (pair.mode, pair.clip, pair.latents, pair.near_identical) == ("imported", None, None, False)
    assert {label.segment for label in project.labels()} == {None}
    assert validate(project, deep=True) == []
    shared = [media for pair in project.pairs() for media in (pair.media_a, pair.media_b)]
    assert len(shared) == 4 and len(set(shared)) == 3
    again = import_rewardbench(project, file, tmp_path / "videos")
    assert (again.pairs, again.labels, again.known) == (0, 0, 6)


def test_a_clip_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make(tmp_path)
    made: list[Path] = []

    def counted(path: Path, *arguments: Any, **more: Any) -> Any:
        made.append(path)
        return first_clip(path, *arguments, **more)

    monkeypatch.setattr("densedpo.labels.imported.videos.first_clip", counted)
    wrong = table(tmp_path / "wrong.csv", FIRST, ("c.mp4", "d.mp4", *SECOND[2:]))
    with pytest.raises(UserError, match=r"line 3: there is no video 'd\.mp4'"):
        import_rewardbench(project, wrong, tmp_path / "videos")
    assert nothing_in(project)
    import_rewardbench(project, table(tmp_path / "bench.csv", FIRST, SECOND), tmp_path / "videos")
    assert [path.name for path in made] == ["a.mp4", "b.mp4", "c.mp4"]


def test_what_was_exported_comes_back(tmp_path: Path) -> None:
    """Out of one project and into another: the same clips, byte for byte, and the same verdicts."""
    project, other = make(tmp_path), make(tmp_path / "other")
    import_rewardbench(project, table(tmp_path / "bench.csv", FIRST, SECOND), tmp_path / "videos")
    export_rewardbench(project, tmp_path / "out.csv")
    import_rewardbench(other, tmp_path / "out.csv", project.root)
    assert verdicts(other) == verdicts(project)
    assert {pair.media_a for pair in other.pairs()} == {pair.media_a for pair in project.pairs()}
    assert {pair.split for pair in other.pairs()} == {pair.split for pair in project.pairs()}
    export_rewardbench(other, tmp_path / "again.csv")
    rows = [sorted((tmp_path / name).read_text().splitlines()) for name in ("out.csv", "again.csv")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, "", "column path_A: there is no text"),
        (1, "a.mp4", "column path_B: it is the same video as path_A"),
        (4, " ", "column prompt: there is no text"),
        (5, "a", "column VQ: 'a' must be A, B, same or empty"),
        (8, "tie", "column Overall: 'tie' must be A, B, same or empty"),
    ],
)
def test_a_mistake_is_told_before_any_video_is_read(tmp_path: Path, place: int, value: str, message: str) -> None:
    project = make(tmp_path, names=("nothing.mp4",))
    wrong = [*FIRST]
    wrong[place] = value
    with pytest.raises(UserError, match=f"bench.csv, line 3, {message}.*nothing was added"):
        import_rewardbench(project, table(tmp_path / "bench.csv", SECOND, wrong), tmp_path / "videos")
    assert nothing_in(project)


def test_tables_that_are_none(tmp_path: Path) -> None:
    project = make(tmp_path, names=("a.mp4",))
    file = tmp_path / "bench.csv"

    def told() -> str:
        with pytest.raises(UserError) as caught:
            import_rewardbench(project, file, tmp_path / "videos")
        return str(caught.value)

    assert "cannot be read: No such file" in told()
    file.write_bytes(b"path_A,path_B,prompt,VQ\n\xff\xfe,b,c,A\n")
    assert "is no CSV table in UTF-8" in told()
    table(file, FIRST[:2], columns=("path_A", "path_B"))
    assert "line 1: the column prompt is missing" in told()
    table(file, FIRST[:3], columns=("path_A", "path_B", "prompt"))
    assert "line 1: none of the columns VQ, MQ, TA, Overall is there" in told()
    table(file, columns=("path_A", "path_B", "prompt", "VQ", "VQ"))
    assert "line 1: the column VQ is there twice" in told()
    for row in (FIRST[:5], (*FIRST, "more")):
        table(file, row)
        assert "line 2: the line has another number of columns" in told()


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    project = make(tmp_path)
    (tmp_path / "secret.mp4").write_bytes((tmp_path / "videos" / "a.mp4").read_bytes())
    (tmp_path / "videos" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    names = ["../secret.mp4", str(tmp_path / "secret.mp4"), "sub/../../secret.mp4", "..%2fsecret.mp4", "sub", ".", "\t"]
    for name in [*names, "file:///../secret.mp4", "http://[", "link.mp4"]:
        file = table(tmp_path / "bench.csv", ("a.mp4", name, *FIRST[2:]))
        with pytest.raises(UserError, match=r"there is no video|there is no text|is a link out of"):
            import_rewardbench(project, file, tmp_path / "videos")
    assert nothing_in(project)
    with pytest.raises(
        UserError, match=r"line 2: 'a\.mp4' is a video, but no folder of videos was given; add --videos"
    ):
        import_rewardbench(project, table(tmp_path / "bench.csv", FIRST), None)
    with pytest.raises(UserError, match="there is no such folder"):
        import_rewardbench(project, table(tmp_path / "bench.csv", FIRST), tmp_path / "nowhere")


def test_videos_are_brought_to_the_projects_shape(tmp_path: Path) -> None:
    """Twice as many frames a second, longer, and wider: every other frame, the beginning, the middle."""
    path = tmp_path / "wide.mp4"
    source = frames_of(0, count=30, height=SIZE, width=2 * SIZE)
    write_video(path, source, 2 * FPS)
    clip, fps = first_clip(path, FRAMES, FPS, SIZE, SIZE)
    assert fps == 2 * FPS
    assert np.array_equal(clip, source[: 2 * FRAMES : 2, :, SIZE // 2 : SIZE + SIZE // 2])
    first = source[0]
    assert fit(first, 2 * SIZE, SIZE) is first
    small = fit(source[3], SIZE, SIZE // 2)  # the whole picture, at half its size
    assert small.shape == (SIZE // 2, SIZE, 3) and small[-1, 0, 1] == 30


def test_videos_that_do_not_fit(tmp_path: Path) -> None:
    project = make(tmp_path)
    write_video(tmp_path / "videos" / "short.mp4", frames_of(0, count=FRAMES - 1), FPS)
    write_video(tmp_path / "videos" / "slow.mp4", frames_of(0, count=30), FPS / 3)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    for name, why in (("short", "is too short: it has 1.00 s"), ("slow", "shows 2.67 frames"), ("broken", "")):
        file = table(tmp_path / "bench.csv", (f"{name}.mp4", "a.mp4", *FIRST[2:]))
        with pytest.raises(UserError, match=rf"bench\.csv, line 2: .*{name}\.mp4.*{why}"):
            import_rewardbench(project, file, tmp_path / "videos")
    assert nothing_in(project)
    assert read_video(tmp_path / "videos" / "a.mp4")[0].shape == (FRAMES, SIZE, SIZE, 3)
