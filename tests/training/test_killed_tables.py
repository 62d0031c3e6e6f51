"""Runs and precomputations with a reference table, killed at a random moment, end bit for bit as ones left alone."""

import json
import random
import shutil
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from densedpo.training.precompute import precompute
from densedpo.training.reference import ReferenceTable
from forked import Forked, Moment, densedpo, lines_in
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


def kill(command: str, project: Project, settings: dict[str, Any], enough: Moment, *more: str) -> None:
    """Start a command on the project; it is killed as soon as there is `enough`."""
    flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words = (command, str(project.root), *more, *flags)
    process = Forked(densedpo, *words, said=project.root.with_suffix(".said"), deadly=enough)
    assert process.wait() == -signal.SIGKILL, process.said


def entries(root: Path, what: str) -> list[Any]:
    """Rows of the project's one table; none if it is not there yet."""
    for file in (root / "cache" / "reference").glob("*.db"):
        with closing(sqlite3.connect(file)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                return connection.execute(f"SELECT {what} FROM entry").fetchall()
    return []


def table(project: Project) -> dict[str, bytes]:
    return dict(entries(project.root, "key, errors"))


def has_entries(root: Path, count: int) -> bool:
    return len(entries(root, "key")) >= count


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
    kill("train", killed, SETTINGS, (lines_in, (log, after)), "--name", "run")
    assert 0 < len(table(killed)) <= 60  # from the twentieth step on, all is there
    one, other = trained(killed, SETTINGS), trained(whole, SETTINGS)
    assert len(losses(one)) == 40
    assert losses(one) == losses(other), after
    assert adapter_of(one) == adapter_of(other), after
    assert table(killed) == table(whole), after


def test_a_killed_precomputation_ends_as_one_left_alone(projects: tuple[Project, Project]) -> None:
    killed, whole = projects
    after = CHANCE.randint(3, 120)
    kill("reference", killed, MANY, (has_entries, (killed.root, after)))
    made = len(table(killed))
    assert after <= made < 200
    assert made % 3 == 0  # a batch's entries all or none
    settings = TrainSettings(**MANY)
    assert precompute(killed, model_at(Path(killed.settings.model)), settings) == (200 - made, 200)
    assert precompute(whole, model_at(Path(whole.settings.model)), settings) == (200, 200)
    assert table(killed) == table(whole), after
    assert adapter_of(trained(killed, MANY)) == adapter_of(trained(whole, MANY)), after


def test_beginning_a_table_waits_for_another_process_that_begins_it(
    projects: tuple[Project, Project], random_wan_folder: Path
) -> None:
    chosen = projects[0], model_at(random_wan_folder), TrainSettings(**SETTINGS)
    with closing(sqlite3.connect(ReferenceTable(*chosen).path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA journal_mode=DELETE")  # as a new file begins
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["COMMIT"])
        release.start()
        ReferenceTable(*chosen)
        release.join()
