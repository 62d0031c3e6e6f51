"""What is still to be encoded at the start of a run."""

from pathlib import Path
from typing import Any

import pytest

from densedpo.models.encoded import encode_prompts
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset
from densedpo.training.loop import train
from densedpo.training.selection import load_dataset
from small_projects import CAPTIONS, empty_project, give_labels, model_at, plant_pair, project_with_clips


def dataset(project: Project, split: Any = "train", **settings: Any) -> Dataset:
    return load_dataset(project, model_at(Path(project.settings.model)), TrainSettings(**settings), split)


@pytest.fixture
def project(random_wan_folder: Path, tmp_path: Path) -> Project:
    """Five labelled guided pairs of three prompts, and pairs that dense does not learn from, each with its own."""
    project = empty_project(tmp_path / "project", random_wan_folder)
    for number in range(5):
        give_labels(project, plant_pair(project, number), "a", "b")
    give_labels(project, plant_pair(project, 5, "independent", prompt="of an independent pair"), "a", "b", whole="a")
    give_labels(project, plant_pair(project, 6, split="validation", prompt="held out"), "a", "b")
    give_labels(project, plant_pair(project, 7, prompt="tied"), "tie", "tie")
    plant_pair(project, 8, prompt="unlabelled")
    return project


def test_only_what_is_learned_from_and_not_encoded_is_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("densedpo.store.opinions.ROWS", 2)
    model = model_at(Path(project.settings.model))
    found = dataset(project)
    prompts = [example.prompt for example in found.examples(range(len(found)))]
    assert len(prompts) == 5
    assert found.unencoded == tuple(dict.fromkeys(prompts))  # once each, though two pairs share one; in their order
    assert set(found.unencoded) == set(CAPTIONS)
    assert dataset(project, "validation").unencoded == ("held out",)
    assert dataset(project, method="vanilla").unencoded == ("of an independent pair",)
    assert encode_prompts(project, model, [CAPTIONS[1], "unlabelled"]) == 2
    left = dataset(project).unencoded
    assert left == tuple(each for each in found.unencoded if each != CAPTIONS[1])
    assert encode_prompts(project, model, found.unencoded) == 2  # what another has encoded since is passed over
    assert dataset(project).unencoded == ()


def test_a_run_encodes_them_before_its_first_step(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded = model_at(Path(project.settings.model)), []
    real = encode_prompts
    monkeypatch.setattr("densedpo.training.loop.encode_prompts", lambda *told: encoded.extend(told[2]) or real(*told))
    settings = TrainSettings(steps=1, batch=1, rank=1, track=(), validate_every=1)
    train(project, model, settings, "dense")
    assert sorted(encoded) == sorted([*CAPTIONS, "held out"])
    assert dataset(project).unencoded == dataset(project, "validation").unencoded == ()


def test_captions_of_clips(random_wan_folder: Path, tmp_path: Path) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder)
    assert sorted(dataset(project, method="sft").unencoded) == sorted(CAPTIONS)
