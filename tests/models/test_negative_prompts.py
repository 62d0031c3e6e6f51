"""Negative prompts: a model's own unless another is asked for, and encoded apart where a model does so (SANA-Video)."""

from pathlib import Path

import pytest
import torch
from family_checks import relative_error
from model_folders import variant
from safetensors.torch import load_file
from test_every_family import one_clip
from tiny_sana_video import NEGATIVE, random_sana_video
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.evaluation.sampling import Shot, Studio
from densedpo.models import load_model
from densedpo.models.encoded import clip_latents, conditioning, encode_prompts
from densedpo.models.sana_video import SanaVideoModel
from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings, preview
from densedpo.pairs.encode import encode
from densedpo.pairs.generate import generate_pairs
from densedpo.pairs.make import make_pairs
from densedpo.pairs.settings import PreviewSettings
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.samples import Samples
from small_projects import empty_project, model_at, project_with_clips

OWN, PROMPT, SHAPE = "a green star", "a red circle moves left", (8, 3, 8, 8)


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


@pytest.fixture(scope="module")
def sana(tmp_path_factory: pytest.TempPathFactory) -> SanaVideoModel:
    model = load_model(str(random_sana_video(tmp_path_factory.mktemp("models") / "sana")), device="cpu")
    assert isinstance(model, SanaVideoModel)
    return model


def test_a_negative_prompt_is_never_taken_for_a_caption(sana: SanaVideoModel, tmp_path: Path) -> None:
    """Not even where it is one: pairs get the encoding for its place, and the cache keeps both."""
    model, caption = sana, "a red circle moves"
    project = empty_project(tmp_path / "project", model.folder, width=64, height=64)
    one_clip(project)
    (clip,) = project.clips()
    assert clip.caption == caption
    make_pairs(project, model, PairSettings(steps=4, negative_prompt=caption))
    (pair,) = project.pairs()
    positive, negative = model.encode_text([caption]), model.encode_negative_text([caption])
    latents = clip_latents(project, model, [clip])
    made = generate_pairs(model, [pair.recipe], latents, positive, negative).latents_a[0]
    assert pair.latents is not None
    assert torch.equal(load_file(project.latents_path(pair.latents))["a"], made)
    confused = generate_pairs(model, [pair.recipe], latents, positive, positive).latents_a[0]
    assert relative_error(made, confused) > 1e-3
    assert told_alike(conditioning(project, model, [caption]), positive)
    assert told_alike(conditioning(project, model, [caption], negative=True), negative)
    assert encode(project, model) == (0, 1)  # clip and caption are there; the model's own negative prompt is new
    assert encode(project, model) == (0, 0)


def told_alike(one: Conditioning, other: Conditioning) -> bool:
    assert one.tensors.keys() == other.tensors.keys()
    return all(torch.equal(one.tensors[key], other.tensors[key]) for key in one.tensors)


def test_evaluation_previews_and_samples_of_training_draw_away_from_it(
    sana: SanaVideoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sana
    project = empty_project(tmp_path / "project", model.folder, width=64, height=64)
    negative = model.encode_negative_text([NEGATIVE])
    studio = Studio(model, project.settings, model.sigmas(3), 3.0, None, 0)
    begin = noise(SHAPE, 0, "evaluation", PROMPT, 0)[None]
    alone = sample(model, begin, [model.sigmas(3)], model.encode_text([PROMPT]), negative, 3.0)
    assert torch.equal(studio.latents([Shot(PROMPT, 0, 0)]), alone)
    (tmp_path / "prompts.txt").write_text(PROMPT)
    settings = TrainSettings(sample_every=1, sample_prompts=tmp_path / "prompts.txt")
    assert told_alike(Samples(project, model, settings, tmp_path).negative, negative)
    one_clip(project)
    used: list[Conditioning] = []
    monkeypatch.setattr(preview, "generate_pairs", lambda *given: used.append(given[4]) or generate_pairs(*given))
    preview.preview_eta(project, model, PreviewSettings(clips=1, etas=(0.7,), steps=2), tmp_path / "preview.png")
    assert told_alike(used[0], negative)


def test_models_with_one_encoding_keep_one(random_wan_folder: Path, tmp_path: Path) -> None:
    project: Project = project_with_clips(tmp_path / "project", random_wan_folder, 1)
    model = load_model(str(random_wan_folder), device="cpu")
    assert encode_prompts(project, model, ["a red circle"], ["a red circle", "a square"]) == 2
    told = conditioning(project, model, ["a red circle"], negative=True)
    assert told_alike(told, model.encode_text(["a red circle"]))
