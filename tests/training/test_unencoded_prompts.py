"""What is still to be encoded at the start of a run."""

from pathlib import Path
from typing import Any

import pytest

from densedpo.models.encoded import encode_prompts
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset, load_dataset
from densedpo.training.prompts import prompts_of, unencoded
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


def test_the_prompts_are_those_of_the_examples_in_order(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densedpo.store.opinions.ROWS", 2)
    for found in (dataset(project), dataset(project, method="vanilla"), dataset(project, "validation")):
        assert list(prompts_of(found)) == [example.prompt for example in found.examples(range(len(found)))]
    assert len(list(prompts_of(dataset(project)))) == 5


def test_prompts_of_clips(random_wan_folder: Path, tmp_path: Path) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder)
    assert sorted(prompts_of(dataset(project, method="sft"))) == sorted(CAPTIONS)


def test_only_what_is_learned_from_and_not_encoded_is_missing(project: Project) -> None:
    model = model_at(Path(project.settings.model))
    both = dataset(project), dataset(project, "validation")
    assert set(unencoded(project, model, *both)) == {*CAPTIONS, "held out"}
    assert encode_prompts(project, model, [CAPTIONS[1], "unlabelled"]) == 2
    left = unencoded(project, model, both[0], None)
    assert sorted(left) == sorted({CAPTIONS[0], CAPTIONS[2]})  # once each, though two pairs share one
    assert encode_prompts(project, model, left) == 2
    assert unencoded(project, model, *both) == ["held out"]
