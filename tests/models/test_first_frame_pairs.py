"""Pairs of an image-to-video model: both members animate the first frame of one clip."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_wan_image import random_wan_image

from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.encoded import conditioning, encode_first_frames, first_frames, first_frames_of
from densedpo.pairs import PairSettings, PreviewSettings
from densedpo.pairs.encode import encode
from densedpo.pairs.make import make_pairs
from densedpo.pairs.preview import preview_eta
from densedpo.store.checks import validate
from densedpo.store.project import Project
from densedpo.video.io import read_video
from small_projects import model_at, plant_pair, project_with_clips


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_wan_image(tmp_path_factory.mktemp("models") / "wan", "2.1")


@pytest.fixture
def model(folder: Path) -> VideoModel:
    return loaded(folder)


@functools.cache
def loaded(folder: Path) -> VideoModel:
    return load_model(str(folder), device="cpu")


@pytest.fixture
def project(folder: Path, tmp_path: Path) -> Project:
    return project_with_clips(tmp_path / "project", folder, clips=2)


@pytest.mark.parametrize("mode", ["guided", "independent"])
def test_both_members_share_the_first_frame_of_a_clip(project: Project, model: VideoModel, mode: str) -> None:
    report = make_pairs(project, model, PairSettings(mode=mode, steps=2, sampler="official"))
    assert (report.planned, report.made) == (2, 2)
    clips = [clip.id for clip in project.clips()]
    for pair in project.pairs():
        assert pair.recipe["first_frame"] in clips
        assert pair.clip == (pair.recipe["first_frame"] if mode == "guided" else None)
        members = load_file(project.latents_path(str(pair.latents)))
        difference = (members["a"] - members["b"]).abs()
        assert pair.distance == pytest.approx(difference[:, 1:].mean().item(), rel=1e-6)  # the first is given
        assert pair.distance != pytest.approx(difference.mean().item(), rel=1e-3)
    assert len({pair.recipe["first_frame"] for pair in project.pairs()}) == 2
    assert validate(project, deep=True) == []


def test_made_again_it_is_the_same_pair(project: Project, model: VideoModel, folder: Path, tmp_path: Path) -> None:
    settings = PairSettings(steps=2)
    encode(project, model)
    make_pairs(project, model, settings)
    again = project_with_clips(tmp_path / "again", folder, clips=2)
    make_pairs(again, model, settings)
    assert [pair.latents for pair in again.pairs()] == [pair.latents for pair in project.pairs()]


def test_each_row_is_told_its_own_first_frame(project: Project, model: VideoModel) -> None:
    clips = list(project.clips())
    recipes = [{"first_frame": clip.id} for clip in (clips[1], clips[0], clips[1])]
    ids = first_frames(recipes)
    assert ids == [clips[1].id, clips[0].id, clips[1].id]
    given = conditioning(project, model, ["", "", ""], ids).tensors
    encode_first_frames(project, model, [clips[0].id])
    frames = np.stack([read_video(project.media_path(clip.media))[0] for clip in clips])
    alone = model.encode_first_frame(frames[1:, 0], 9).tensors  # type: ignore[attr-defined]
    assert given.keys() == {"text", "image", "image_embeds"}
    for key in ("image", "image_embeds"):
        assert torch.equal(given[key][0], alone[key][0])
        assert torch.equal(given[key][2], given[key][0])
        assert not torch.equal(given[key][1], given[key][0])


def test_a_pair_knows_the_clip_that_it_animates(project: Project, model: VideoModel, random_wan_folder: Path) -> None:
    make_pairs(project, model, PairSettings(steps=1))
    pairs, clip = list(project.pairs()), next(project.clips()).id
    found = first_frames_of(project, model, [pairs[1].id, clip, pairs[0].id])
    assert found == [pairs[1].clip, clip, pairs[0].clip]
    assert first_frames_of(project, model_at(random_wan_folder), [pairs[0].id]) is None
    other = plant_pair(project, 0, model_hash="x", vae_hash="x", latents=False)
    with pytest.raises(UserError, match=f"pair {other.id} was not made from a first frame"):
        first_frames_of(project, model, [other.id])


def test_a_model_from_text_alone_has_no_first_frames() -> None:
    assert first_frames([{"prompt": "a"}]) is None


def test_the_preview_shows_the_same_animation(project: Project, model: VideoModel, tmp_path: Path) -> None:
    cells = preview_eta(project, model, PreviewSettings(etas=(0.7,), clips=1, steps=2), tmp_path / "preview.png")
    assert [cell.eta for cell in cells] == [0.7]
    assert (tmp_path / "preview.png").stat().st_size > 0
