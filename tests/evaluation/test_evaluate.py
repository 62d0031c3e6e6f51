"""An evaluation end to end on a random model: fair, exact, and the same after a stop."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_prompts import PROMPTS, GiveAdapter

from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation import run as stage
from densedpo.evaluation.run import evaluate
from densedpo.evaluation.sampling import Shot, Studio
from densedpo.evaluation.scoring import score
from densedpo.models import load_model
from densedpo.store.project import Project
from densedpo.video.io import read_video

STAR, CROSS = PROMPTS


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_prompts_to_scores(project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter) -> None:
    give_adapter("dense", 0.3)
    result = evaluate(project, settings)
    assert (result.contestants, result.prompts, result.sampled, result.known) == (("base", "dense"), 2, 8, 0)
    rows = lines(result.folder)
    assert [(row["contestant"], row["prompt"], row["prompt_index"], row["seed"]) for row in rows] == [
        (name, prompt, index, seed)
        for name in ("base", "dense")
        for index, prompt in enumerate(PROMPTS)
        for seed in (0, 1)
    ]
    assert rows[5]["video"] == "clips/dense/0000-1.mp4"
    for row in rows:
        frames, fps = read_video(result.folder / row["video"])
        assert (frames.shape, fps) == ((5, 48, 48, 3), 8.0)
        assert row["scores"] == score(frames, row["prompt"])
    speeds = [row["scores"]["dynamic_degree"] for row in rows if row["contestant"] == "dense"]
    assert result.means["dense"]["dynamic_degree"] == pytest.approx(np.mean(speeds))
    facts = json.loads((result.folder / "run.json").read_text())
    assert (facts["kind"], list(facts["adapters"]), facts["project"]) == (
        "evaluation",
        ["dense"],
        project.fingerprint(),
    )
    assert facts["versions"]["torch"] and facts["seconds"] > 0
    told = (result.folder / "settings.yaml").read_text()
    assert "steps: 2" in told and "guidance: 3.0" in told and "count: 2" in told and "- dense" in told


def test_an_untrained_adapter_makes_the_bases_videos_and_a_trained_one_others(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    """All contestants start from the same noise, and each has its own adapter and no other's."""
    give_adapter("untrained", 0.0)
    give_adapter("trained", 0.3)
    found = files(evaluate(project, settings.model_copy(update={"runs": ("trained", "untrained")})).folder)
    for video in ("0000-0", "0000-1", "0001-0", "0001-1"):
        assert found[f"clips/untrained/{video}.mp4"] == found[f"clips/base/{video}.mp4"]
        assert found[f"clips/trained/{video}.mp4"] != found[f"clips/base/{video}.mp4"]
    assert len({found[name] for name in found if name.startswith("clips/base/")}) == 4


def test_the_same_command_again_does_nothing(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    first = evaluate(project, settings)
    before = files(first.folder)
    again = evaluate(project, settings)
    assert again == dataclasses.replace(first, sampled=0, known=8)
    assert files(first.folder) == before


def test_a_stop_in_the_middle_changes_nothing_in_the_end(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_adapter("dense", 0.3)
    whole = evaluate(project, settings.model_copy(update={"name": "whole"}))
    calls: list[str] = []

    def interrupted(frames: Any, prompt: str) -> dict[str, float]:
        calls.append(prompt)
        if len(calls) == 6:  # base is done (3 + 1), dense's first batch of 3 is not
            raise KeyboardInterrupt
        return score(frames, prompt)

    monkeypatch.setattr(stage, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(project, settings)
    rest = evaluate(project, settings)
    assert (rest.sampled, rest.known) == (4, 4)
    written, expected = files(rest.folder), files(whole.folder)
    assert written.keys() == expected.keys()
    differing = {name for name in written if written[name] != expected[name]}
    assert differing == {"settings.yaml", "run.json"}  # the name, and the seconds it took


def test_a_lost_video_is_made_again_with_its_batch(project: Project, settings: EvaluateSettings) -> None:
    settings = settings.model_copy(update={"runs": ()})
    folder = evaluate(project, settings).folder
    before = files(folder)
    (folder / "clips/base/0001-0.mp4").unlink()
    assert evaluate(project, settings).sampled == 3
    after = files(folder)
    assert {name for name in before if after[name] != before[name]} == {"run.json"}  # its seconds


def test_a_changed_adapter_is_evaluated_anew_and_said_so(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    give_adapter("flow", 0.2)
    before = lines(evaluate(project, settings).folder)
    give_adapter("dense", 0.5)
    result = evaluate(project, settings)
    assert (result.redone, result.sampled) == (("dense",), 4)
    changed = {new["contestant"] for old, new in zip(before, lines(result.folder), strict=True) if old != new}
    assert changed == {"dense"}
    assert evaluate(project, settings).redone == ()


def test_another_question_under_the_same_name_is_refused(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    folder = evaluate(project, settings).folder
    before = files(folder)
    other = settings.model_copy(update={"steps": 3, "seed": 7})
    with pytest.raises(
        UserError, match=r"steps \(2 there, 3 asked\), seed \(0 there, 7 asked\); give .* another --name"
    ):
        evaluate(project, other)
    assert settings.prompts is not None
    settings.prompts.write_text(f"{CROSS}\n{STAR}\n")
    with pytest.raises(UserError, match="made with other settings: the prompts; give"):
        evaluate(project, settings)
    assert files(folder) == before


def test_the_model_s_own_settings_may_be_spelled_out(project: Project, settings: EvaluateSettings) -> None:
    settings = settings.model_copy(update={"runs": ()})
    evaluate(project, settings)
    assert evaluate(project, settings.model_copy(update={"guidance": 3.0, "count": 2})).sampled == 0


def test_a_training_runs_folder_is_left_alone(project: Project, settings: EvaluateSettings) -> None:
    folder = project.run_folder("dense")
    (folder / "run.json").write_text('{"kind": "training"}')
    (folder / "settings.yaml").write_text("beta: 500\n")
    with pytest.raises(UserError, match="dense is a run of another kind; give this evaluation another --name"):
        evaluate(project, settings.model_copy(update={"name": "dense", "runs": ()}))


def test_runs_without_an_adapter_are_named(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    with pytest.raises(UserError, match="no training run has an adapter yet; make one with `densedpo train`"):
        evaluate(project, settings)
    give_adapter("dense", 0.3)
    with pytest.raises(UserError, match="training run 'flow' has no adapter; runs that have one: dense"):
        evaluate(project, settings.model_copy(update={"runs": ("dense", "flow")}))
    give_adapter("base", 0.3)
    with pytest.raises(UserError, match="may not be named 'base'"):
        evaluate(project, settings)


def test_prompts_that_cannot_be_scored_are_refused_before_any_work(
    project: Project, settings: EvaluateSettings
) -> None:
    assert settings.prompts is not None
    settings.prompts.write_text(f"{STAR}\na dog runs\n")
    with pytest.raises(UserError, match="captions of the tiny world only: caption 'a dog runs' names no colour"):
        evaluate(project, settings)
    assert not (project.root / "runs").exists()


def test_a_video_depends_on_its_prompt_and_seed_and_not_on_its_batch(project: Project) -> None:
    model = load_model(project.settings.model)
    studio = Studio(model, project.settings, model.sigmas(2), 3.0, None, 0)
    shots = [Shot(STAR, 0, 0), Shot(STAR, 0, 1), Shot(CROSS, 1, 0)]
    together = studio.videos(shots).astype(int)
    alone = studio.videos([dataclasses.replace(shots[2], prompt_index=5), shots[0]]).astype(int)
    assert np.abs(alone - together[[2, 0]]).max() <= 1  # rounding in another batch may tip a pixel
    assert np.abs(together[0] - together[1]).mean() > 5
    other = dataclasses.replace(studio, seed=1).videos(shots).astype(int)
    assert np.abs(other - together).mean(axis=(1, 2, 3, 4)).min() > 5
