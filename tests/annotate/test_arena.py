"""Two contestants of an evaluation, compared by people."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotate_projects import COLOURS, FPS, FRAMES, answer, client_of, make_project, numbered_frames

from densedpo import cli
from densedpo.annotate.arena import choices, open_arena, write_choices
from densedpo.errors import UserError
from densedpo.store.assignments import find_assignment
from densedpo.store.project import Project
from densedpo.video.io import read_video, write_video


def evaluate(project: Project, prompts: int = 2) -> Path:
    """The folder of an evaluation: `base` makes red videos, `dense` blue ones."""
    folder = project.run_folder("evaluation")
    rows: list[dict[str, Any]] = []
    for contestant, colour in (("base", COLOURS["a"]), ("dense", COLOURS["b"])):
        for prompt in range(prompts):
            name = f"clips/{contestant}/{prompt:04d}-0.mp4"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_video(folder / name, numbered_frames(colour), FPS)
            rows.append({"contestant": contestant, "prompt": f"prompt {prompt}", "prompt_index": prompt, "seed": 0})
            rows[-1] |= {"video": name, "scores": {}}
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("arena") / "project", pairs=1)
    evaluate(made)
    return made


def test_people_compare_and_the_rows_say_who_won(project: Project, tmp_path: Path) -> None:
    arena = open_arena(project, "evaluation", "base,dense")
    again = open_arena(project, "evaluation", "base, dense")
    assert [pair.id for pair in arena.pairs()] == [pair.id for pair in again.pairs()]
    for pair in arena.pairs():
        frames, fps = read_video(arena.media_path(pair.media_a))
        assert (len(frames), fps, int(np.argmax(frames[0][40, 40]))) == (FRAMES, FPS, 0)  # a is red, so base's
    client = client_of(arena, mode="whole", aspects=("overall", "motion"))
    prompts = set()
    while task := client.post("/api/next").json():
        assert task["questions"] == [[None, "overall"], [None, "motion"]]
        assert "base" not in str(task) and "dense" not in str(task)
        held = find_assignment(arena, task["id"])
        assert held is not None
        better = "left" if held.order_shown == "ba" else "right"  # member b, the second contestant
        for aspect, choice in (("overall", better), ("motion", "tie")):
            assert client.post("/api/answers", json=answer(task, None, choice, aspect=aspect)).status_code == 200
        client.post(f"/api/assignments/{task['id']}/finish")
        prompts.add(task["prompt"])
    rows = list(choices(arena))
    assert prompts == {row["prompt"] for row in rows} == {"prompt 0", "prompt 1"}
    assert {(row["contestant_a"], row["contestant_b"]) for row in rows} == {("base", "dense")}
    assert sorted((row["aspect"], row["choice"]) for row in rows) == [("motion", "tie")] * 2 + [("overall", "b")] * 2
    file = write_choices(arena)
    assert [json.loads(line) for line in file.read_text().splitlines()] == rows
    assert list(project.labels()) == [] and len(list(project.pairs())) == 1  # the project itself is as it was


@pytest.mark.parametrize(
    ("run", "between", "said"),
    [
        ("evaluation", "base", "must name two contestants"),
        ("evaluation", "base,base", "must name two contestants"),
        ("evaluation", "base,other", "no contestant other; it has base, dense"),
        ("nothing", "base,dense", "run `densedpo evaluate` first"),
        ("../up", "base,dense", "run `densedpo evaluate` first"),
    ],
)
def test_mistakes(project: Project, run: str, between: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_arena(project, run, between)
    assert not (project.root / "runs" / "nothing").exists()


def test_videos_that_cannot_be_compared(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    folder = evaluate(project, prompts=1)
    video = folder / "clips/dense/0000-0.mp4"
    write_video(video, numbered_frames(COLOURS["b"], 17), FPS)
    with pytest.raises(UserError, match="only videos of one size and length"):
        open_arena(project, "evaluation", "base,dense")
    video.unlink()
    with pytest.raises(UserError, match=r"0000-0.mp4 is missing; run `densedpo evaluate` again"):
        open_arena(project, "evaluation", "base,dense")


def test_the_command_needs_both_flags(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--arena", "evaluation"], ["--between", "base,dense"]):
        assert cli.run(["annotate", str(project.root), *flags]) == 2
        assert "an arena needs both" in capsys.readouterr().err
