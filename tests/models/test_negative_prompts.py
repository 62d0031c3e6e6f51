"""A model's own negative prompt: in the recipes of its pairs unless another is asked for, and in their generation."""

from pathlib import Path

import pytest
import torch
from model_folders import variant
from safetensors.torch import load_file
from torch import Tensor

from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings
from densedpo.pairs.make import make_pairs
from densedpo.store.project import Project
from small_projects import model_at, project_with_clips

OWN = "a green star"


@pytest.fixture(scope="module")
def model(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> WanModel:
    folder = tmp_path_factory.mktemp("models") / "wan"
    return model_at(variant(random_wan_folder, folder, "densedpo.json", negative_prompt=OWN))


def made(project: Project, model: WanModel, negative_prompt: str | None) -> tuple[str, str, Tensor]:
    """The id of the one pair, the negative prompt in its recipe, and its first member."""
    make_pairs(project, model, PairSettings(count=1, steps=3, negative_prompt=negative_prompt))
    (pair,) = project.pairs()
    assert pair.latents is not None
    return pair.id, pair.recipe["negative_prompt"], load_file(project.latents_path(pair.latents))["a"]


def test_pairs_are_drawn_away_from_it(model: WanModel, tmp_path: Path) -> None:
    projects = [project_with_clips(tmp_path / name, model.folder, 1) for name in ("default", "asked", "empty")]
    default, asked, empty = (made(*each) for each in zip(projects, [model] * 3, [None, OWN, ""], strict=True))
    assert default[:2] == asked[:2] == (default[0], OWN)
    assert torch.equal(default[2], asked[2])
    assert empty[1] == ""
    assert (default[2] - empty[2]).abs().max() > 1e-3  # the same seeds, another text to move away from
