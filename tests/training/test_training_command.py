"""The command train, as a user runs it."""

import json
from pathlib import Path

import pytest

from densedpo import cli
from small_projects import empty_project, give_labels, plant_pair


@pytest.fixture(scope="module")
def root(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = empty_project(tmp_path_factory.mktemp("command") / "project", random_wan_folder)
    give_labels(project, plant_pair(project, 0), "a", "b")
    plant_pair(project, 1)
    give_labels(project, plant_pair(project, 2, model_hash="another"), "a")
    return project.root


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


def test_a_dry_run_says_what_it_would_learn_from(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", str(root), "--beta", "100", "--dry-run", "--json"]) == 0
    *told, result = capsys.readouterr().out.splitlines()
    shapes = [{"frames": 9, "width": 48, "height": 48, "count": 2}]
    assert json.loads(result) == {"run": "dense", "pairs": 2, "left_out": {"unlabelled": 1}, "shapes": shapes}
    assert told[0].startswith("warning: 1 pairs were made by other weights than those being trained")
    assert told[1] == "dense: dense on 2 pairs; 1 left out unlabelled"
    assert told[2].endswith("2 pairs of 48x48, 9 frames")
    assert "-log sigmoid(-50 (Delta_w - Delta_l))" in told[3]
    assert not (root / "runs").exists()


def test_train_says_where_the_adapter_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(root), "--name", "first", "--steps", "1", "--rank", "2", "--batch", "1", "--json"]
    assert cli.run(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["run"], result["pairs"], result["steps"]) == ("first", 2, 1)
    assert Path(result["adapter"]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "base"], "a run cannot be named base"),
        (["--name", "a/b"], "'train-a/b' cannot name a folder"),
        (["--method", "vanilla"], "nothing to train vanilla on: it has no independent pairs"),
        (["--stepz", "3"], "Did you mean --steps?"),
    ],
)
def test_mistakes_are_told(root: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert cli.run(["train", str(root), *words]) == 2
    assert message in capsys.readouterr().err
