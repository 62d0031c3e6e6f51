"""A project of the random model, with prompts to evaluate on and adapters to compare."""

import sys
from pathlib import Path

import pytest
import torch
from evaluation_prompts import PROMPTS, GiveAdapter

from densedpo.evaluation import EvaluateSettings
from densedpo.models import load_model
from densedpo.models.lora import add_adapter, save_adapter
from densedpo.store.project import Project, ProjectSettings

sys.path.append(str(Path(__file__).parents[1] / "judges"))  # its judge_server.py judges videos here, too


@pytest.fixture
def project(tmp_path: Path, random_wan_folder: Path) -> Project:
    """Of 5 frames, so that everything is quick."""
    return Project.create(tmp_path / "project", ProjectSettings(model=str(random_wan_folder), frames=5))


@pytest.fixture
def give_adapter(project: Project, random_wan_folder: Path) -> GiveAdapter:
    """A function that makes a finished training run whose weights are `size` large; 0 is an untrained adapter."""

    def give(run: str, size: float) -> None:
        model = load_model(str(random_wan_folder))
        denoiser = model.denoiser
        draws = torch.Generator().manual_seed(1)
        for parameter in add_adapter(denoiser, model.lora_targets, rank=2, alpha=2.0, seed=0):
            parameter.data += size * torch.randn(parameter.shape, generator=draws)
        save_adapter(denoiser, project.run_folder(run) / "adapter", {})

    return give


@pytest.fixture
def settings(tmp_path: Path) -> EvaluateSettings:
    """Two prompts with two seeds in batches of 3, so that batches and prompts do not coincide."""
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(PROMPTS) + "\n")
    return EvaluateSettings(prompts=file, steps=2, batch=3)
