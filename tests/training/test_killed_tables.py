"""Runs and precomputations with a reference table, killed at a random moment, end bit for bit as ones left alone."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from densedpo.training.precompute import precompute
from small_projects import empty_project, give_labels, model_at, plant_pair

SETTINGS: dict[str, Any] = {
    "steps": 40, "rank": 2, "lr": 1e-3, "warmup": 2, "batch": 3, "save_every": 7, "reference_draws": 12,
}  # fmt: skip
MANY = SETTINGS | {"reference_draws": 40}
CHANCE = random.SystemRandom()


@pytest.fixture
def projects(random_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Project]:
    """Two projects that are alike, and share no table."""
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    project = empty_project(tmp_path / "killed", random_wan_folder)
    for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", ""), ("b", "")]):
        give_labels(project, plant_pair(project, number), first, second)
    return project, Project.open(shutil.copytree(project.root, tmp_path / "whole"))


def kill(command: str, project: Project, settings: dict[str, Any], enough: Callable[[], bool], *more: str) -> None:
    """Start a command on the project and kill it as soon as there is `enough`."""
    flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    with subprocess.Popen(
        [sys.executable, "-m", "densedpo", command, str(project.root), *more, *flags],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # another number rounds otherwise
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while process.poll() is None and not enough():
            time.sleep(0.01)
        process.kill()
        assert process.stderr is not None
        assert process.wait() == -9, process.stderr.read().decode()


def table(project: Project) -> dict[str, bytes]:
    """All entries of the project's one table; none if it is not there yet."""
    for file in (project.root / "cache" / "reference").glob("*.db"):
        with closing(sqlite3.connect(file)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                return dict(connection.execute("SELECT key, errors FROM entry"))
    return {}


def adapter_of(run: Path) -> dict[str, bytes]:
    with safe_open(run / "adapter/pytorch_lora_weights.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name).numpy().tobytes() for name in sorted(file.keys())}


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def trained(project: Project, settings: dict[str, Any]) -> Path:
    return train(project, model_at(Path(project.settings.model)), TrainSettings(**settings), "run").run


def test_a_killed_run_with_a_table_ends_as_one_left_alone(projects: tuple[Project, Project]) -> None:
    killed, whole = projects
    after = CHANCE.randint(3, 30)
    log = killed.root / "runs" / "run" / "log.jsonl"
    kill("train", killed, SETTINGS, lambda: log.exists() and log.read_bytes().count(b"\n") >= after, "--name", "run")
    assert 0 < len(table(killed)) <= 60  # from the twentieth step on, all is there
    one, other = trained(killed, SETTINGS), trained(whole, SETTINGS)
    assert len(losses(one)) == 40
    assert losses(one) == losses(other), after
    assert adapter_of(one) == adapter_of(other), after
    assert table(killed) == table(whole), after


def test_a_killed_precomputation_ends_as_one_left_alone(projects: tuple[Project, Project]) -> None:
    killed, whole = projects
    after = CHANCE.randint(3, 120)
    kill("reference", killed, MANY, lambda: len(table(killed)) >= after)
    made = len(table(killed))
    assert after <= made < 200
    assert made % 3 == 0  # a batch's entries all or none
    settings = TrainSettings(**MANY)
    assert precompute(killed, model_at(Path(killed.settings.model)), settings) == (200 - made, 200)
    assert precompute(whole, model_at(Path(whole.settings.model)), settings) == (200, 200)
    assert table(killed) == table(whole), after
    assert adapter_of(trained(killed, MANY)) == adapter_of(trained(whole, MANY)), after
