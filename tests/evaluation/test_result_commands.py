"""`evaluate` and `report` as a user meets them."""

import json
import os
from pathlib import Path

import pytest
from evaluation_prompts import GiveAdapter

from densedpo import cli
from densedpo.evaluation import EvaluateSettings
from densedpo.store.project import Project, ProjectSettings


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_evaluate(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter, capsys: pytest.CaptureFixture[str]
) -> None:
    give_adapter("dense", 0.3)
    give_adapter("flow", 0.3)
    command = ["evaluate", str(project.root), "--prompts", str(settings.prompts), "--runs", "dense", "--steps", "2"]
    command += ["--seeds-per-prompt", "1", "--json"]
    assert cli.run(command) == 0
    lines = told(capsys)
    assert "base, dense on 2 prompts; 4 videos made, 0 were there, 4 scored" in lines[0]
    assert lines[1].startswith("  base: ") and "visual_quality 0." in lines[1]
    assert any(line.startswith("  not run: vbench_subject_consistency: needs DINO ViT-B/16") for line in lines)
    assert json.loads(lines[-1])["contestants"] == ["base", "dense"]
    give_adapter("dense", 0.4)
    assert cli.run(command) == 0
    assert told(capsys)[0] == "dense: its adapter has changed since, so its videos were made anew"
    again = ["evaluate", str(project.root), "--config", str(project.root / "runs/evaluation/settings.yaml"), "--json"]
    assert cli.run(again) == 0
    assert json.loads(told(capsys)[-1])["sampled"] == 0


def test_report_shows_the_newest_runs_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.create(tmp_path / "project", ProjectSettings())
    report = ["report", str(project.root), "--json"]
    assert cli.run(report) == 0
    found = json.loads(told(capsys)[-1])
    assert found == {"page": str(project.root / "report" / "index.html"), "train_run": None, "evaluation": None}
    for second, (name, kind) in enumerate(
        [("a", "training"), ("c", "training"), ("b", "training"), ("z", "evaluation"), ("y", "evaluation")]
    ):
        file = project.run_folder(name) / "run.json"
        file.write_text(json.dumps({"kind": kind}))
        os.utime(file, (second, second))
    assert cli.run(report) == 0
    lines = told(capsys)
    assert lines[0].endswith("index.html: training run b, evaluation y")
    assert cli.run([*report, "--train-run", "a", "--evaluation", "z", "--out", str(tmp_path / "page")]) == 0
    found = json.loads(told(capsys)[-1])
    assert found == {"page": str(tmp_path / "page" / "index.html"), "train_run": "a", "evaluation": "z"}
    assert (tmp_path / "page" / "index.html").exists()


def test_a_sweep_is_only_shown_where_there_is_no_other_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project.create(tmp_path / "project", ProjectSettings())
    runs = [("sweep", {"kind": "evaluation", "sweep": "dense"}), ("compared", {"kind": "evaluation"})]
    for name, facts in runs:
        file = project.run_folder(name) / "run.json"
        file.write_text(json.dumps(facts))
        os.utime(file, (9, 9) if name == "sweep" else (1, 1))
        assert cli.run(["report", str(project.root)]) == 0
        assert told(capsys)[0].endswith(f"evaluation {name}")
