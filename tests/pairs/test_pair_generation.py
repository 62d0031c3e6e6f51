"""From a recipe to two videos: exact starts, and batches that do not matter."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.models.encoded import clip_latents, conditioning, latents_file
from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings
from densedpo.pairs.generate import PairResult, generate_pairs, latent_distance
from densedpo.pairs.recipe import plan
from densedpo.store.project import Project
from densedpo.video.io import read_video
from small_projects import LATENT_SHAPE, model_at, project_with_clips


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project_with_clips(tmp_path_factory.mktemp("generation"), random_wan_folder)


@pytest.fixture
def model(random_wan_folder: Path) -> WanModel:
    return model_at(random_wan_folder)


def generate(project: Project, model: WanModel, rows: slice, **settings: object) -> PairResult:
    """The pairs in `rows` of the plan, made in one batch."""
    asked = PairSettings(**settings)  # type: ignore[arg-type]
    planned = plan(list(project.clips()), model, project.settings.fps, asked)[rows]
    recipes = [recipe for _, recipe in planned]
    return generate_pairs(
        model,
        recipes,
        clip_latents(project, model, [clip for clip, _ in planned]) if asked.mode == "guided" else None,
        conditioning(project, model, [recipe["prompt"] for recipe in recipes]),
        conditioning(project, model, [recipe["negative_prompt"] for recipe in recipes]),
    )


@pytest.fixture
def motionless(model: WanModel, monkeypatch: pytest.MonkeyPatch) -> WanModel:
    """A model that predicts no velocity at all: what it is started from comes out."""
    monkeypatch.setattr(model, "predict", lambda noisy, sigma, conditioning: torch.zeros_like(noisy))
    return model


def test_a_guided_pair_starts_from_the_clip_noised_to_eta_with_each_members_noise(
    project: Project, motionless: WanModel
) -> None:
    result = generate(project, motionless, slice(0, 3))
    for i, (clip, recipe) in enumerate(plan(list(project.clips()), motionless, project.settings.fps, PairSettings())):
        frames, _ = read_video(project.media_path(clip.media))
        x, eta = motionless.encode(frames[None])[0], torch.tensor(recipe["eta"])
        for side, members in (("a", result.latents_a), ("b", result.latents_b)):
            eps = torch.randn(LATENT_SHAPE, generator=_generator_of(recipe[f"seed_{side}"]))
            assert torch.equal(members[i], (1 - eta) * x + eta * eps)


def _generator_of(seed: int) -> torch.Generator:
    """Keyed by the recipe's number alone: whoever has the recipe can redraw the noise."""
    digest = hashlib.sha256(f"[{seed}]".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def test_an_independent_pair_starts_from_noise_alone(project: Project, motionless: WanModel) -> None:
    result = generate(project, motionless, slice(0, 2), mode="independent")
    planned = plan(list(project.clips()), motionless, project.settings.fps, PairSettings(mode="independent"))
    expected = [noise(LATENT_SHAPE, recipe["seed_b"]) for _, recipe in planned[:2]]
    assert torch.equal(result.latents_b, torch.stack(expected))


def test_the_distance_is_the_mean_absolute_difference_of_the_latents() -> None:
    a, b = torch.zeros(2, 1, 1, 2, 2), torch.tensor([1.0, -1.0, 3.0, 1.0]).view(1, 1, 1, 2, 2).expand(2, 1, 1, 2, 2)
    assert latent_distance(a, b, 0).tolist() == [1.5, 1.5]


def test_padding_frames_do_not_count_in_the_distance() -> None:
    a, b = torch.zeros(1, 2, 3, 1, 1), torch.zeros(1, 2, 3, 1, 1)
    b[:, :, 0], b[:, :, 2] = 100.0, 4.0
    assert latent_distance(a, b, 1).tolist() == [2.0]


def test_a_pair_made_in_a_batch_is_the_pair_made_alone(project: Project, model: WanModel) -> None:
    together = generate(project, model, slice(0, 3))
    for i in range(3):
        alone = generate(project, model, slice(i, i + 1))
        for one, other in ((together.latents_a[i], alone.latents_a[0]), (together.latents_b[i], alone.latents_b[0])):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()
        assert np.abs(together.video_b[i].astype(int) - alone.video_b[0].astype(int)).max() <= 1
    assert (together.latents_a - together.latents_b).abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of torch
@pytest.mark.parametrize("sampler", ["unipc", "dpm++"])
def test_so_it_is_with_every_sampler(project: Project, model: WanModel, sampler: str) -> None:
    together, euler = generate(project, model, slice(0, 3), sampler=sampler), generate(project, model, slice(0, 3))
    alone = generate(project, model, slice(2, 3), sampler=sampler)
    assert (together.latents_b[2] - alone.latents_b[0]).abs().max() <= 1e-5 * alone.latents_b.abs().max()
    assert (together.latents_b - euler.latents_b).abs().max() > 1e-3


def test_each_clip_keeps_its_own_prompt(project: Project, model: WanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are all a, then all b; the prompts must follow that order."""
    given: list[Tensor] = []
    real = model.predict

    def noting(noisy: Tensor, sigma: Tensor, given_to: object) -> Tensor:
        given.append(given_to.tensors["text"])  # type: ignore[attr-defined]
        return real(noisy, sigma, given_to)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "predict", noting)
    generate(project, model, slice(0, 2), steps=1, eta_low=0.7, eta_high=0.7)
    prompts = [clip.caption for clip in project.clips()][:2]
    expected = model.encode_text([*prompts, *prompts, *[""] * 4]).tensors["text"]
    assert torch.equal(given[0], expected)


def test_the_cache_gives_the_same_bits_whatever_was_encoded_with_a_clip(project: Project, model: WanModel) -> None:
    clips = list(project.clips())
    once = clip_latents(project, model, clips)
    for clip in clips[1:]:
        latents_file(project, model, clip).unlink()
    assert torch.equal(clip_latents(project, model, [clips[2], clips[0]])[0], once[2])
    assert torch.equal(clip_latents(project, model, clips), once)
