"""Head to head by people and machines: labels on arena pairs become contests in results.json."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclopts import App
from judge_server import Clips, JudgeServer, look

from densedpo.annotate.arena import open_arena
from densedpo.cli.arena_command import arena as arena_command
from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.judged import judged, results_of, take_in_judgements
from densedpo.evaluation.run import evaluate
from densedpo.labels import VlmLabelSettings, label_vlm
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Label, Pair
from densedpo.video.io import Frames, write_video

PROMPTS = ["a dog", "a red ball", "a cat"]
SEEDS = 2
FPS = 8.0


def clip(noise: float, seed: int) -> Frames:
    """A soft picture, 9 frames of 96x64, with as much noise as the server's judge can see, or none."""
    y, x = np.mgrid[:64, :96]
    soft = 128 + 60 * np.sin(x / 9 + seed) * np.cos(y / 11)
    frames = soft[None, :, :, None] + np.random.default_rng(seed).normal(0, noise, (9, 64, 96, 1))
    return np.clip(frames, 0, 255).astype(np.uint8).repeat(3, axis=3)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three contestants, `clean`, `worse` and `worst`, evaluated on three prompts with two seeds."""
    folder = tmp_path_factory.mktemp("evaluated")
    for name, noise in (("clean", 0.0), ("worse", 20.0), ("worst", 60.0)):
        (folder / name).mkdir()
        for prompt in range(len(PROMPTS)):
            for seed in range(SEEDS):
                write_video(folder / name / f"{prompt:04d}-{seed}.mp4", clip(noise, 10 * prompt + seed), FPS)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    evaluate(Project.create(folder / "project", ProjectSettings(model="owner/absent")), asked(folder))
    return folder


@pytest.fixture
def project(evaluated: Path, tmp_path: Path) -> Project:
    """A copy of the evaluation's project; the contestants' folders lie beside it."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    return Project.open(tmp_path / "project")


def asked(folder: Path) -> EvaluateSettings:
    videos = tuple(f"{name}={folder / name}" for name in ("clean", "worse", "worst"))
    metrics = ("warping_error", "temporal_flickering")
    return EvaluateSettings(videos=videos, prompts=folder / "prompts.txt", metrics=metrics)


def label(pair: Pair, choice: str, annotator: str, **other: Any) -> Label:
    given: dict[str, Any] = {
        **{"pair": pair.id, "seen": "seen", "segment": None, "segment_seconds": pair.frames / pair.fps},
        **{"choice": choice, "aspect": "overall", "annotator_kind": "human", "annotator": annotator},
        **{"annotator_version": "1", "order_shown": "ab"},
    }
    return Label.make(**given | other)


def say(arena: Project, choice: Callable[[Pair], str], annotator: str, **other: Any) -> None:
    arena.add_labels(label(pair, choice(pair), annotator, **other) for pair in arena.pairs())


def of_seed(first: str, second: str) -> Callable[[Pair], str]:
    return lambda pair: first if pair.recipe["seed"] == 0 else second


def counts(pair: dict[str, Any]) -> tuple[int, int, int]:
    return pair["wins"], pair["ties"], pair["losses"]


def test_people_are_counted_by_majority_and_prompt(project: Project) -> None:
    arena = open_arena(project, "evaluation", "worse,clean")  # b is clean
    say(arena, lambda pair: "b", "ann")
    say(arena, lambda pair: "b" if pair.prompt != "a cat" else "a", "bob")
    say(arena, of_seed("b", "skip"), "cid")  # so that seed 0 of the cat is won, and seed 1 a draw
    say(arena, lambda pair: "a", "ann", aspect="motion")
    say(arena, lambda pair: "a", "gina", aspect="gold:overall")  # a check, no opinion
    found = take_in_judgements(project, "evaluation")
    overall = found["human"]["overall"]
    assert counts(overall["pairs"]["clean against worse"]) == (3, 0, 0)
    assert overall["pairs"]["clean against worse"]["win_share"]["n"] == 3  # prompts, not videos or labels
    assert (overall["annotators"], overall["models"], overall["videos"], overall["outdated"]) == (3, [], 6, 0)
    assert counts(found["human"]["motion"]["pairs"]["clean against worse"]) == (0, 0, 3)
    assert sorted(overall["strengths"]) == ["clean", "worse"]  # nobody has seen worst
    assert results_of(project, "evaluation")["head_to_head"]["human"] == found["human"]


def test_seeds_of_a_prompt_are_one_game_and_a_draw_is_a_tie(project: Project) -> None:
    arena = open_arena(project, "evaluation", "clean,worse")
    say(arena, of_seed("a", "b"), "ann")
    found = take_in_judgements(project, "evaluation")["human"]["overall"]
    assert counts(found["pairs"]["clean against worse"]) == (0, 3, 0) and found["videos"] == 6
    assert found["strengths"]["clean"]["mean"] == pytest.approx(0, abs=1e-9)
    say(open_arena(project, "evaluation", "clean,worst"), of_seed("a", "tie"), "ann")
    found = take_in_judgements(project, "evaluation")["human"]["overall"]
    assert counts(found["pairs"]["clean against worst"]) == (3, 0, 0)
    strength = {name: interval["mean"] for name, interval in found["strengths"].items()}
    assert strength["clean"] > strength["worst"] and list(strength) == ["clean", "worse", "worst"]


def test_both_orders_of_an_arena_are_one_contest(project: Project) -> None:
    """Who is a and who is b in the pairs does not matter: each order has one vote for clean, one for worse."""
    say(open_arena(project, "evaluation", "clean,worse"), lambda pair: "a", "ann")
    say(open_arena(project, "evaluation", "worse,clean"), lambda pair: "a", "ann")
    found = take_in_judgements(project, "evaluation")["human"]["overall"]
    assert list(found["pairs"]) == ["clean against worse"] and counts(found["pairs"]["clean against worse"]) == (
        0,
        3,
        0,
    )


def test_kinds_of_annotators_do_not_mix_and_corrections_replace(project: Project) -> None:
    arena = open_arena(project, "evaluation", "clean,worse")
    say(arena, lambda pair: "a", "ann")
    say(arena, lambda pair: "b", "reward-net", annotator_kind="reward", segment=0)  # 0: the only segment is all of it
    first = next(iter(arena.labels(annotator="ann")))
    pair = next(pair for pair in arena.pairs() if pair.id == first.pair)
    arena.add_labels([label(pair, "b", "ann", supersedes=first.id)])
    found = take_in_judgements(project, "evaluation")
    assert counts(found["reward"]["overall"]["pairs"]["clean against worse"]) == (0, 0, 3)
    assert found["reward"]["overall"]["models"] == ["reward-net"]
    assert counts(found["human"]["overall"]["pairs"]["clean against worse"]) == (2, 1, 0)


def test_labels_on_videos_made_anew_do_not_count(project: Project, tmp_path: Path) -> None:
    arena = open_arena(project, "evaluation", "clean,worse")
    say(arena, lambda pair: "a", "ann")
    write_video(tmp_path / "worse" / "0000-0.mp4", clip(30.0, 0), FPS)
    evaluate(project, asked(tmp_path))
    found = results_of(project, "evaluation")["head_to_head"]  # an evaluation counts the labels, too
    assert found["human"]["overall"]["outdated"] == 1 and found["human"]["overall"]["videos"] == 5
    assert set(found["scorers"]) == {"warping_error"}
    assert (
        len(list(open_arena(project, "evaluation", "clean,worse").pairs())) == 7
    )  # the new video has a pair of its own


def test_strengths_need_a_way_from_each_to_each(project: Project) -> None:
    rows = [json.loads(line) for line in (project.root / "runs/evaluation/scores.jsonl").read_text().splitlines()]
    others = [{**row, "contestant": f"other-{row['contestant']}"} for row in rows]
    (project.root / "runs/evaluation/scores.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows + others))
    say(open_arena(project, "evaluation", "clean,worse"), lambda pair: "a", "ann")
    say(open_arena(project, "evaluation", "other-clean,other-worse"), lambda pair: "a", "ann")
    names = ["clean", "worse", "other-clean", "other-worse"]
    found = judged(project.root / "runs/evaluation", rows + others, names)["human"]["overall"]
    assert len(found["pairs"]) == 2 and found["strengths"] == {}
    say(open_arena(project, "evaluation", "worse,other-clean"), lambda pair: "tie", "ann")
    found = judged(project.root / "runs/evaluation", rows + others, names)["human"]["overall"]
    assert list(found["strengths"]) == names


def run_command(project: Project, *words: str) -> None:
    app = App()
    app.default(arena_command)
    app([str(project.root), *words], exit_on_error=False, print_error=False, result_action="return_value")


def ask(arena: Path, opinion: Callable[[Clips], str]) -> int:
    """Let a judge behind a server label the arena's pairs as whole videos; how many questions it was asked."""
    with JudgeServer(opinion) as server:
        settings = VlmLabelSettings(judge="vllm-qwen-vl", base_url=server.url, mode="whole", aspects=("overall",))
        report = label_vlm(Project.open(arena), settings)
        assert report.unanswered == report.abstained == 0
        return len(server.requests)


def test_by_a_vision_language_model(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command to results.json, by a server that looks at the pictures; no page is served."""
    run_command(project, "--json")
    arenas = json.loads(capsys.readouterr().out.splitlines()[-1])["arenas"]
    assert [Path(place).name for place in arenas] == ["clean-worse", "clean-worst", "worse-worst"]
    for place in arenas:
        assert ask(Path(place), look) == 2 * len(PROMPTS) * SEEDS  # both orders
    run_command(project)
    out = capsys.readouterr().out
    assert "clean against worse: 3 prompts won, 0 tied, 0 lost (p 0.250)" in out
    found = results_of(project, "evaluation")["head_to_head"]["vlm"]["overall"]
    assert all(counts(pair) == (3, 0, 0) for pair in found["pairs"].values()) and len(found["pairs"]) == 3
    strength = {name: interval["mean"] for name, interval in found["strengths"].items()}
    assert strength["clean"] > strength["worse"] > strength["worst"]
    assert found["annotators"] == 1 and found["models"] == ["Qwen/Qwen2.5-VL-7B-Instruct"]


def test_a_judge_who_prefers_a_position_finds_no_winner(project: Project) -> None:
    ask(open_arena(project, "evaluation", "clean,worse").root, lambda clips: "first")
    found = take_in_judgements(project, "evaluation")["vlm"]["overall"]
    assert counts(found["pairs"]["clean against worse"]) == (0, 3, 0)
    assert found["pairs"]["clean against worse"]["p"] == 1
    assert found["strengths"]["clean"]["mean"] == pytest.approx(0, abs=1e-9)


def test_mistakes(project: Project) -> None:
    with pytest.raises(UserError, match="run `densedpo evaluate` first"):
        run_command(project, "--evaluation", "nothing")
    with pytest.raises(UserError, match="no contestant none"):
        run_command(project, "--between", "clean,none")
    file = project.root / "runs/evaluation/results.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 1}))
    with pytest.raises(UserError, match="written by another version of densedpo; run `densedpo evaluate` again"):
        take_in_judgements(project, "evaluation")
