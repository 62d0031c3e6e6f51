"""Finished clips from anywhere: matched by file name, compared without any model."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from densedpo import cli
from densedpo.config import dump_settings
from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.folders import find_references, match_by_name, match_to_prompts
from densedpo.evaluation.run import evaluate
from densedpo.evaluation.shots import Shot, named_places, share_of
from densedpo.evaluation.workers import Task, Workers, workers_for
from densedpo.metrics.sharpness import Sharpness
from densedpo.store.project import Project, ProjectSettings
from densedpo.video.io import Frames, write_video

PROMPTS = ["A dog's run.", "a red ball, rolling", "a cat"]


def clip(speed: float, seed: int) -> Frames:
    """A bright square that moves over noise, 9 frames of 32 pixels."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 120, (1, 32, 32, 3), dtype=np.uint8), 9, axis=0)
    for i in range(9):
        left = round(4 + speed * i) % 24
        frames[i, 8:16, left : left + 8] = 255
    return frames


def put(folder: Path, speed: float, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        write_video(folder / name, clip(speed, number), 8.0)
    return folder


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", ProjectSettings(model="owner/absent"))


def test_files_are_matched_to_prompts_by_number_or_text(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "0000-0.mp4", "0001-1.mp4", "notes.txt")
    two = touch(tmp_path / "two", "A dog_s run.-0.mp4", "a red ball, rolling-1.webm")
    found = match_to_prompts({"one": one, "two": two}, PROMPTS, None)
    assert found.shots == [Shot(PROMPTS[0], 0, 0), Shot(PROMPTS[1], 1, 1)]
    assert [file.name for file in found.takes["two"].values()] == ["A dog_s run.-0.mp4", "a red ball, rolling-1.webm"]
    assert found.captions[found.shots[1]] == PROMPTS[1]
    assert [shot.prompt_index for shot in match_to_prompts({"one": one, "two": two}, PROMPTS, 1).shots] == [0]


def test_files_are_matched_by_equal_names(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "b.mp4", "cat run-0.mp4", "cat run-1.mp4")
    two = touch(tmp_path / "two", "cat run-1.mov", "cat run-0.mov", "b.mov")
    (two / "metadata.csv").write_text("file_name,caption\nb.mov,a dog\n")
    found = match_by_name({"one": one, "two": two}, None)
    assert found.shots == [Shot("a dog", 0, 0), Shot("cat run", 1, 0), Shot("cat run", 1, 1)]
    assert list(found.captions.values()) == ["a dog", None, None]
    assert found.takes["two"][found.shots[2]].name == "cat run-1.mov"
    assert len(match_by_name({"one": one, "two": two}, 1).shots) == 1


def test_clips_of_one_caption_are_seeds_of_one_prompt(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "x.mp4", "y.mp4")
    (one / "metadata.jsonl").write_text(
        '{"file_name": "x.mp4", "prompt": "a dog"}\n{"file_name": "y.mp4", "text": "a dog"}\n'
    )
    assert match_by_name({"one": one}, None).shots == [Shot("a dog", 0, 0), Shot("a dog", 0, 1)]


def test_what_does_not_match_is_said(tmp_path: Path) -> None:
    one = touch(tmp_path / "one", "0000-0.mp4", "0001-0.mp4", "0002-0.mp4")
    two = touch(tmp_path / "two", "0000-0.mp4")
    lacks = r"two \(two\) lacks 2 of 3 clips: 0001-0, 0002-0; add them, or take them out"
    with pytest.raises(UserError, match=lacks):
        match_to_prompts({"one": one, "two": two}, PROMPTS, None)
    with pytest.raises(UserError, match=lacks):
        match_by_name({"one": one, "two": two}, None)
    with pytest.raises(UserError, match="belongs to none of the 3 prompts; name it by the prompt's number"):
        match_to_prompts({"three": touch(tmp_path / "three", "0007-0.mp4")}, PROMPTS, None)
    with pytest.raises(UserError, match="are both seed 0 of prompt 2; keep one"):
        match_to_prompts({"four": touch(tmp_path / "four", "0002-0.mp4", "a cat-0.mp4")}, PROMPTS, None)
    with pytest.raises(UserError, match=r"holds a\.mov and a\.mp4; keep one"):
        match_by_name({"five": touch(tmp_path / "five", "a.mp4", "a.mov")}, None)
    with pytest.raises(UserError, match="holds no video files"):
        match_by_name({"six": touch(tmp_path / "six", "notes.txt")}, None)
    with pytest.raises(UserError, match="absent is no folder"):
        match_by_name({"seven": tmp_path / "absent"}, None)
    (one / "metadata.csv").write_text("name\nx\n")
    with pytest.raises(UserError, match="needs file_name and caption on each line"):
        match_by_name({"one": one}, None)


def test_references_are_found_by_name_or_prompt(tmp_path: Path) -> None:
    matched = match_to_prompts(
        {"one": touch(tmp_path / "one", "0000-0.mp4", "0000-1.mp4", "0001-0.mp4")}, PROMPTS, None
    )
    guides = touch(tmp_path / "guides", "0000.mp4", "a red ball, rolling-0.mkv")
    found = find_references(guides, matched, PROMPTS)
    assert {shot.stem: file.name for shot, file in found.items()} == {
        "0000-0": "0000.mp4",
        "0000-1": "0000.mp4",
        "0001-0": "a red ball, rolling-0.mkv",
    }
    assert find_references(None, matched, PROMPTS) == {}
    with pytest.raises(UserError, match="has no reference clip for any of the 3 shots"):
        find_references(touch(tmp_path / "other", "zebra.mp4"), matched, PROMPTS)


def test_names_and_shares() -> None:
    assert named_places(["a=x/y", "b.2=z=1"], "--videos") == {"a": Path("x/y"), "b.2": Path("z=1")}
    for wrong in ("x/y", "=x", "a=", "../a=x"):
        with pytest.raises(UserError, match="expected NAME=PLACE"):
            named_places([wrong], "--videos")
    with pytest.raises(UserError, match="--videos names a twice"):
        named_places(["a=x", "a=y"], "--videos")
    parts = [share_of(list(range(10)), f"{k}/4") for k in (1, 2, 3, 4)]
    assert sorted(itertools.chain(*parts)) == list(range(10)) and parts[1] == [1, 5, 9]
    assert share_of([1, 2], None) == [1, 2]


def test_folders_are_compared_without_any_model(project: Project, tmp_path: Path) -> None:
    """The project's model does not even exist. The faster clips have more motion, and the guide is slow's own clip."""
    names = [f"clip {letter}.mp4" for letter in "abcd"]
    slow, fast = put(tmp_path / "slow", 0.5, names), put(tmp_path / "fast", 2.0, names)
    settings = EvaluateSettings(videos=(f"slow={slow}", f"fast={fast}"), reference=slow)
    result = evaluate(project, settings)
    assert (result.contestants, result.prompts, result.sampled, result.known, result.scored) == (
        ("slow", "fast"),
        4,
        0,
        8,
        8,
    )
    assert result.means["fast"]["motion_strength"] > 2 * result.means["slow"]["motion_strength"]
    assert result.means["slow"]["reference_ssim"] == pytest.approx(1, abs=1e-6)
    assert result.means["fast"]["reference_ssim"] < 0.99
    assert result.not_run["visual_quality"] == "needs captions, give them with --prompts FILE"
    assert result.results is not None
    found = json.loads(result.results.read_text())
    assert found["baseline"] == "slow" and found["motion_kept"]["fast"]["motion_strength"]["holds"]
    rows = [json.loads(line) for line in (result.folder / "scores.jsonl").read_text().splitlines()]
    assert rows[4]["video"] == "clips/fast/0000-0.mp4" and rows[4]["prompt"] == "clip a"
    again = evaluate(project, settings)
    assert again.scored == 0 and again.means == result.means
    write_video(fast / names[0], clip(3.0, 9), 8.0)
    changed = evaluate(project, settings)
    assert (changed.redone, changed.scored) == (("fast",), 4)
    with pytest.raises(UserError, match="made with other settings: the contestants"):
        evaluate(project, settings.model_copy(update={"videos": (f"slow={slow}",)}))


def test_a_broken_clip_is_named(project: Project, tmp_path: Path) -> None:
    folder = touch(tmp_path / "broken", "a.mp4")
    with pytest.raises(UserError, match=r"clips/broken/0000-0\.mp4: is .*not a video"):
        evaluate(project, EvaluateSettings(videos=(f"broken={folder}",)))


def test_by_command_without_loading_torch(project: Project, tmp_path: Path) -> None:
    """Someone who has only clips needs no installed model library."""
    names = ["0000-0.mp4", "0001-0.mp4"]
    one, two = put(tmp_path / "one", 0.5, names), put(tmp_path / "two", 2.0, names)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    arguments = ["evaluate", str(project.root), "--videos", f"one={one}", "--videos", f"two={two}"]
    arguments += ["--prompts", str(tmp_path / "prompts.txt"), "--json"]
    code = f"import sys\nfrom densedpo import cli\ncode = cli.run({arguments!r})\n"
    code += "sys.exit(code or 3 * ('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["contestants"] == ["one", "two"] and found["prompts"] == 2
    assert "not run: vbench_dynamic_degree: needs" in done.stdout


def test_a_shard_of_folders_takes_in_its_part(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "one", 0.5, ["a.mp4", "b.mp4", "c.mp4"])
    command = ["evaluate", str(project.root), "--videos", f"one={folder}", "--json"]
    assert cli.run([*command, "--shard", "2/2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "the same command without --shard scores all videos" in out[1]
    assert [path.name for path in (project.root / "runs/evaluation/clips/one").iterdir()] == ["0001-0.mp4"]
    assert cli.run(command) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["scored"] == 3
    assert cli.run([*command, "--shard", "two"]) == 2


def test_a_reward_model_is_asked_by_its_contract(project: Project, tmp_path: Path) -> None:
    """A scorer of twenty lines in a process of its own: the length of the caption, and a clip that it cannot score."""
    script = tmp_path / "scorer.py"
    script.write_text(
        "import json, sys\n"
        "print(json.dumps({'ready': True, 'name': 'length', 'scores': ['overall']}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    assert asked['end_frame'] == 9 and asked['video'].endswith('.mp4')\n"
        "    bad = asked['caption'] == 'a cat'\n"
        "    said = {'error': 'too furry'} if bad else {'scores': {'overall': float(len(asked['caption']))}}\n"
        "    print(json.dumps({'id': asked['id'], **said}), flush=True)\n"
    )
    folder = put(tmp_path / "one", 0.5, ["0000-0.mp4", "0001-0.mp4", "0002-0.mp4"])
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    asked = EvaluateSettings(
        videos=(f"one={folder}",),
        prompts=tmp_path / "prompts.txt",
        metrics=("reward_length",),
        reward=(f"length={sys.executable} {script}",),
    )
    result = evaluate(project, asked)
    assert result.means["one"] == {"reward_length": (len(PROMPTS[0]) + len(PROMPTS[1])) / 2}
    rows = [json.loads(line) for line in (result.folder / "scores.jsonl").read_text().splitlines()]
    assert rows[2]["scores"] == {} and "too furry" in rows[2]["unmeasured"]["reward_length"]
    without = evaluate(project, asked.model_copy(update={"name": "b", "prompts": None}))
    assert without.not_run == {"reward_length": "needs captions, give them with --prompts FILE"}


def test_several_processes_find_the_same_as_one(project: Project, tmp_path: Path) -> None:
    """To the last bit, with partners and guides, and an error for what cannot be decoded."""
    names = [f"{number:04d}-0.mp4" for number in range(5)]
    slow, fast = put(tmp_path / "slow", 0.5, names), put(tmp_path / "fast", 2.0, names)
    asked = EvaluateSettings(videos=(f"slow={slow}", f"fast={fast}"), reference=slow, workers=1)
    one = evaluate(project, asked)
    several = evaluate(project, asked.model_copy(update={"name": "several", "workers": 2}))
    assert several.scored == one.scored == 10
    rows = [(result.folder / "scores.jsonl").read_text() for result in (one, several)]
    assert rows[0] == rows[1] and "motion_similarity" in rows[0]
    assert evaluate(project, asked.model_copy(update={"workers": 3})).scored == 0
    (fast / names[3]).write_text("no video")
    broken = asked.model_copy(update={"name": "broken", "workers": 2})
    with pytest.raises(UserError, match=r"clips/fast/0003-0\.mp4: is text, not a video"):
        evaluate(project, broken)


KILLED_AT_THE_THIRD_SHOT = """
import os, signal, sys
from pathlib import Path
from densedpo.config import read_yaml
from densedpo.evaluation import EvaluateSettings, record
from densedpo.evaluation.run import evaluate
from densedpo.store.project import Project

record.SECONDS, add, shots = -1, record.Record.add, []

def add_or_die(self, contestant, shot, *said):
    if shot not in shots:
        shots.append(shot)
    if len(shots) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, contestant, shot, *said)

record.Record.add = add_or_die
evaluate(Project.open(Path(sys.argv[1])), EvaluateSettings(**read_yaml(Path(sys.argv[2]))))
"""


def test_a_kill_while_processes_score_changes_nothing(project: Project, tmp_path: Path) -> None:
    """Killed at once, with two shots written; the same command then scores the rest, to the same bytes."""
    names = [f"{number:04d}-0.mp4" for number in range(5)]
    slow, fast = put(tmp_path / "slow", 0.5, names), put(tmp_path / "fast", 2.0, names)
    asked = EvaluateSettings(videos=(f"slow={slow}", f"fast={fast}"), name="killed", workers=2)
    (tmp_path / "asked.yaml").write_text(dump_settings(asked))
    command = [sys.executable, "-c", KILLED_AT_THE_THIRD_SHOT, str(project.root), str(tmp_path / "asked.yaml")]
    # Its processes hold the pipes: that this returns says that they have ended, too.
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    scores = project.root / "runs" / "killed" / "scores.jsonl"
    assert len(scores.read_text().splitlines()) == 4
    rest = evaluate(project, asked)
    whole = evaluate(project, asked.model_copy(update={"name": "whole"}))
    assert (rest.scored, whole.scored) == (6, 10)
    for file in ("scores.jsonl", "results.json"):
        assert (rest.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file


def test_a_process_that_dies_is_told_and_leaves_no_other(project: Project, tmp_path: Path) -> None:
    folder = put(tmp_path / "one", 0.5, ["a.mp4", "b.mp4"])
    task = Task({"one": str(folder / "a.mp4")}, None, None, {"one": ["sharpness"]})
    with Workers(2) as workers:
        assert [said["one"][0].keys() for _, said in workers.look([task, task])] == [{"sharpness"}] * 2
        for process in workers._all:
            process.kill()
        with pytest.raises(UserError, match=r"one/a\.mp4 has died, .* with fewer --workers"):
            list(workers.look([task]))
    assert all(process.poll() is not None for process in workers._all)


def test_how_many_processes() -> None:
    assert workers_for(1000, 3) == 3 and workers_for(3, None) == 1
    assert workers_for(1000, None) >= workers_for(8, None) >= 1


def test_a_metric_whose_definition_changed_is_measured_anew(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "one", 0.5, ["a.mp4", "b.mp4"])
    asked = EvaluateSettings(videos=(f"one={folder}",))
    first = evaluate(project, asked)
    monkeypatch.setattr(Sharpness, "version", "3")
    monkeypatch.setattr(Sharpness, "measure", lambda self, clip, tools: 7.0)
    again = evaluate(project, asked)
    assert again.scored == 2 and again.means["one"] == {**first.means["one"], "sharpness": 7.0}
    assert evaluate(project, asked).scored == 0
