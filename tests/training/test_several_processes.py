"""Two real processes that train one adapter end where one process ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from small_projects import empty_project, give_labels, model_at, plant_pair

SETTINGS: dict[str, Any] = {"rank": 2, "lr": 3e-3, "warmup": 0, "batch": 3, "save_every": 2, "beta": 20.0}


@pytest.fixture
def project(random_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    project = empty_project(tmp_path / "project", random_wan_folder)
    for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
        shape = {"frames": 17, "width": 64} if number == 2 else {}
        give_labels(project, plant_pair(project, number, **shape), first, second)
    return project


def in_two_processes(project: Project, name: str, **changes: Any) -> str:
    settings = SETTINGS | changes
    flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "densedpo", "train"]
    done = subprocess.run(
        [sys.executable, *launch, str(project.root), "--name", name, *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_then_one_take_the_steps_of_one(project: Project) -> None:
    """Batches of three: one process has two pairs of each, the other one. Half of the run, then one process goes on.

    One pair is larger and longer than the others.
    """
    said = in_two_processes(project, "two", steps=2)
    assert said.count("beta 20 on mean squared errors") == 1  # the other one is silent
    model = model_at(Path(project.settings.model))
    two, one = (train(project, model, TrainSettings(**SETTINGS, steps=4), name).run for name in ("two", "one"))
    rows = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (two, one)]
    for mine, theirs in zip(*rows, strict=True):
        for key in ("loss", "grad_norm", "inside_median", "winner_delta", "loser_dominated", "pair_accuracy"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-5, abs=1e-5), key  # k = 10 times errors near 1
    weights, expected = (load_file(run / "adapter/pytorch_lora_weights.safetensors") for run in (two, one))
    assert max((weights[name] - expected[name]).abs().max().item() for name in weights) < 1e-5
