"""Clips of several sizes and lengths in one project: batches of one shape each, the same pairs as ever."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from densedpo.errors import UserError
from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings
from densedpo.pairs.encode import encode
from densedpo.pairs.make import make_pairs, remaining
from densedpo.pairs.preview import preview_eta
from densedpo.pairs.settings import PreviewSettings
from densedpo.store.project import Project
from densedpo.store.shapes import shape_of
from densedpo.video.io import write_video
from small_projects import model_at, project_with_clips


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture
def model(random_wan_folder: Path) -> WanModel:
    return model_at(random_wan_folder)


def test_clips_of_a_shape_that_the_model_cannot_take(random_wan_folder: Path, tmp_path: Path, model: WanModel) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder, clips=2)
    odd = next(project.clips())
    project.add_clips([dataclasses.replace(odd, id="f" * 32, frames=10)])
    told = (
        f"1 clips are of 48x48, 10 frames, which {re.escape(model.name)} cannot take: 10 frames do not fit this model"
    )
    for stage in (lambda: make_pairs(project, model, PairSettings(steps=2)), lambda: encode(project, model)):
        with pytest.raises(UserError, match=told):
            stage()
    assert not list(project.pairs())


def test_batches_of_several_shapes_make_what_each_pair_alone_would(
    random_wan_folder: Path, tmp_path: Path, model: WanModel
) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder, clips=3)
    real = list(project.clips())
    for clip, (frames, width) in zip(real, [(5, 48), (9, 64), (5, 48)], strict=True):
        file = tmp_path / "clip.mp4"
        write_video(file, np.random.default_rng(frames * width).integers(0, 256, (frames, 48, width, 3), np.uint8), 8)
        changed = dataclasses.replace(clip, id=clip.id[::-1], media=project.adopt(file), frames=frames, width=width)
        project.add_clips([changed])
    one = Project.create(tmp_path / "one", project.settings)
    one.add_clips(project.clips())
    shutil.copytree(project.root / "media", one.root / "media", dirs_exist_ok=True)
    for where, batch in ((project, 3), (one, 1)):
        assert make_pairs(where, model, PairSettings(count=8, steps=2, batch=batch)).made == 8
    assert remaining(project, model, PairSettings(count=8, steps=2, batch=3)) == []
    batches = remaining(project, model, PairSettings(count=12, steps=2, batch=3, seed=1))
    assert all(len({shape_of(clip) for clip, _ in batch}) == 1 for batch in batches)
    assert sorted(len(batch) for batch in batches) == [1, 2, 3, 3, 3]
    alone = {pair.id: pair for pair in one.pairs()}
    assert {(pair.frames, pair.width) for pair in project.pairs()} == {(9, 48), (5, 48), (9, 64)}
    for pair in project.pairs():
        twin = alone[pair.id]
        assert pair.recipe == twin.recipe
        here, there = load_file(project.latents_path(str(pair.latents))), load_file(one.latents_path(str(twin.latents)))
        assert all(torch.allclose(here[side], there[side], atol=1e-4) for side in "ab")


def test_a_preview_shows_clips_of_all_shapes(random_wan_folder: Path, tmp_path: Path, model: WanModel) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder, clips=2)
    file = tmp_path / "clip.mp4"
    write_video(file, np.zeros((5, 48, 64, 3), np.uint8), 8)
    odd = dataclasses.replace(next(project.clips()), id="0" * 32, media=project.adopt(file), frames=5, width=64)
    project.add_clips([odd])
    cells = preview_eta(project, model, PreviewSettings(etas=(0.5, 0.9), steps=2), tmp_path / "sheet.png")
    assert sorted((cell.clip, cell.eta) for cell in cells) == sorted(
        (clip.id, eta) for clip in project.clips() for eta in (0.5, 0.9)
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * (64 + 4) - 4, 15 * (48 + 4) - 4)
