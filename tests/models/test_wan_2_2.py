"""Wan 2.2: two experts (T2V A14B), and a timestep for every token (TI2V 5B), against diffusers' pipeline."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import relative_error, trained_adapter
from model_folders import variant
from tiny_wan22 import BOUNDARY, random_a14b, random_ti2v
from torch import Tensor

from densedpo import cli
from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.sampler import guided_prediction, sample
from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.settings import LoadSettings
from densedpo.models.wan import WanModel
from small_projects import empty_project, give_labels, model_at, pipeline_at, plant_pair

PROMPTS = ["a red circle moves left", "a blue square moves down"]


@pytest.fixture(scope="module")
def a14b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_a14b(tmp_path_factory.mktemp("models") / "a14b")


@pytest.fixture(scope="module")
def ti2v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_ti2v(tmp_path_factory.mktemp("models") / "ti2v")


@pytest.fixture
def high(a14b: Path) -> WanModel:
    model = load_model(str(a14b), LoadSettings(expert="high"), device="cpu")
    assert isinstance(model, WanModel)
    return model


def sizes(model: WanModel, folder: Path, start: Tensor) -> dict[str, int]:
    _, _, frames, height, width = start.shape
    factor = model.spatial_factor
    return {"num_frames": 1 + 4 * (frames - 1), "height": height * factor, "width": width * factor}


def theirs(folder: Path, start: Tensor, **changes: object) -> Tensor:
    given = {"prompt": PROMPTS, "negative_prompt": "a green star", "num_inference_steps": 5, "guidance_scale": 4.0}
    frames = pipeline_at(folder)(
        latents=start.clone(),
        max_sequence_length=24,
        output_type="latent",
        **sizes(model_at(folder), folder, start),
        **given | changes,
    ).frames
    assert isinstance(frames, torch.Tensor)
    return frames


def ours(model: WanModel, start: Tensor, guidance: float, guidance_2: float | None = None) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["a green star"] * 2)
    return sample(model, start, [model.sigmas(5)] * 2, positive, negative, guidance, guidance_2)


@pytest.mark.parametrize(("guidance", "guidance_2"), [(4.0, 3.0), (4.0, None), (1.0, None), (4.0, 1.0)])
def test_both_experts_sample_as_in_the_diffusers_pipeline(
    a14b: Path, guidance: float, guidance_2: float | None
) -> None:
    model = model_at(a14b)
    sigmas = model.sigmas(5)
    assert sigmas[1] > BOUNDARY > sigmas[2]  # two steps by the one, three by the other
    start = torch.stack([noise((8, 3, 6, 6), "start", i) for i in range(2)])
    expected = theirs(a14b, start, guidance_scale=guidance, guidance_scale_2=guidance_2)
    assert (ours(model, start, guidance, guidance_2) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_each_row_goes_to_the_expert_of_its_own_noise_level(a14b: Path) -> None:
    model = model_at(a14b)
    calls: list[tuple[str, list[float]]] = []
    hooks = [
        expert.register_forward_pre_hook(
            lambda _, __, given, name=name: calls.append((name, given["timestep"].tolist())), with_kwargs=True
        )
        for name, expert in model.experts.items()
    ]
    noisy, sigma = noise((4, 8, 3, 6, 6), "noisy"), torch.tensor([0.5, 0.9, 0.875, 0.25])
    text = model.encode_text([*PROMPTS, "", "a green star"])
    together = model.predict(noisy, sigma, text)
    assert calls == [("high", [900.0, 875.0]), ("low", [500.0, 250.0])]
    for row in range(4):
        alone = model.predict(noisy[[row]], sigma[[row]], text.take([row]))[0]
        assert (together[row] - alone).abs().max() <= 1e-5 * alone.abs().max()
    assert [name for name, _ in calls[2:]] == ["low", "high", "high", "low"]
    for hook in hooks:
        hook.remove()


def test_a_batch_that_meets_the_boundary_at_different_times_comes_out_as_if_sampled_alone(a14b: Path) -> None:
    model = model_at(a14b)
    start = torch.stack([noise((8, 3, 6, 6), "start", i) for i in range(2)])
    schedules = [model.sigmas(4), starting_at(model.sigmas(9), 0.9)]
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["", ""])
    together = sample(model, start, schedules, positive, negative, 4.0, 3.0)
    for i, schedule in enumerate(schedules):
        one = sample(model, start[[i]], [schedule], positive.take([i]), negative.take([i]), 4.0, 3.0)
        assert (together[i] - one[0]).abs().max() <= 1e-5 * one.abs().max()


def test_the_low_noise_expert_is_trained_unless_the_other_is_asked_for(a14b: Path, high: WanModel) -> None:
    low = model_at(a14b)
    assert (low.denoiser, high.denoiser) == (low.pipeline.transformer_2, high.pipeline.transformer)
    assert (low.served_sigmas, high.served_sigmas) == ((0.0, BOUNDARY), (BOUNDARY, float("inf")))
    assert low.model_hash == high.model_hash
    prediction = low.predict(noise((1, 8, 3, 6, 6), "x"), torch.tensor([0.7]), low.encode_text([""]))
    assert torch.equal(
        prediction, high.predict(noise((1, 8, 3, 6, 6), "x"), torch.tensor([0.7]), low.encode_text([""]))
    )


def test_training_draws_only_levels_that_the_expert_serves(a14b: Path, high: WanModel) -> None:
    """At shift 3, sigma 0.875 is u = 0.875 / (3 - 2 * 0.875) = 0.7; the middle of 0..0.7 is sigma 1.05 / 1.7."""
    uniform = torch.tensor([1e-6, 0.5, 1 - 1e-6])
    low = model_at(a14b).training_sigmas(uniform, (8, 3, 6, 6))
    assert low[1].item() == pytest.approx(1.05 / 1.7)
    assert low[-1] < BOUNDARY
    other = high.training_sigmas(uniform, (8, 3, 6, 6))
    assert other[1].item() == pytest.approx(3 * 0.85 / 2.7)
    assert other[0] >= BOUNDARY - 1e-6
    assert other[-1] < 1


def test_the_training_target_leads_the_sampler_back_to_the_clip() -> None:
    """One step of the true velocity from any level, on either side of the boundary, ends at the clip."""
    process, clip, eps = RectifiedFlow(), noise((2, 8, 3, 6, 6), "clip"), noise((2, 8, 3, 6, 6), "eps")
    sigma = torch.tensor([0.95, 0.4])
    noisy = process.add_noise(clip, eps, sigma)
    back = process.step(noisy, process.target(clip, eps, sigma), sigma, torch.zeros(2))
    torch.testing.assert_close(back, clip, rtol=0, atol=2e-6)


def test_the_makers_guidance_has_one_scale_for_each_expert(a14b: Path, tmp_path: Path) -> None:
    folder = variant(a14b, tmp_path / "official", "model_index.json")
    (folder / "densedpo.json").unlink()
    defaults = model_at(folder).defaults
    assert (defaults.guidance, defaults.guidance_2, defaults.boundary) == (4.0, 3.0, BOUNDARY)
    assert (defaults.steps, defaults.width, defaults.height, defaults.frames) == (40, 1280, 720, 81)


def test_a_second_guidance_scale_needs_a_second_expert(random_wan_folder: Path) -> None:
    model = model_at(random_wan_folder)
    text = model.encode_text([""])
    with pytest.raises(UserError, match=r"guidance_2 3 is for models with two experts: leave it out"):
        guided_prediction(model, noise((1, 8, 3, 6, 6), "x"), torch.ones(1), text, text, 4.0, 3.0)


def test_a_lost_expert_is_noticed(a14b: Path, tmp_path: Path) -> None:
    folder = variant(a14b, tmp_path / "lost", "model_index.json", transformer_2=[None, None])
    with pytest.raises(UserError, match=r"is a model of two experts but has no transformer_2: download or copy"):
        load_model(str(folder), device="cpu")


def test_the_hash_names_both_experts(a14b: Path, tmp_path: Path) -> None:
    changed = variant(a14b, tmp_path / "other", "transformer_2/config.json", rope_max_seq_len=64)
    assert model_at(changed).model_hash != model_at(a14b).model_hash


@pytest.fixture
def tuned(a14b: Path, tmp_path: Path) -> Iterator[tuple[WanModel, Path]]:
    """The model with a random adapter on its low-noise expert, and the folder where that is saved."""
    model = model_at(a14b)
    for i, parameter in enumerate(lora.add_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0)):
        parameter.data = 0.2 * noise(tuple(parameter.shape), "perturbed", i)
    lora.save_adapter(model.denoiser, tmp_path / "adapter", {})
    yield model, tmp_path / "adapter"
    model.denoiser.unload_lora()  # type: ignore[operator]


def test_an_adapter_of_the_low_noise_expert_samples_the_same_in_a_fresh_pipeline(
    a14b: Path, tuned: tuple[WanModel, Path]
) -> None:
    model, folder = tuned
    start = torch.stack([noise((8, 3, 6, 6), "start", i) for i in range(2)])
    pipeline = pipeline_at(a14b)
    base = theirs(a14b, start)
    pipeline.load_lora_weights(folder, load_into_transformer_2=True)
    expected = theirs(a14b, start)
    pipeline.unload_lora_weights()
    pipeline.transformer_2.unload_lora()
    assert (ours(model, start, 4.0) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected - base).abs().max() > 0.01 * base.abs().max()


def test_it_is_refused_for_the_other_expert(high: WanModel, tuned: tuple[WanModel, Path]) -> None:
    with pytest.raises(UserError, match=r"is for the low-noise expert: load the model with --expert low"):
        lora.load_adapter(high.denoiser, tuned[1])


@pytest.mark.parametrize(("expert", "warned"), [("low", False), ("high", True)])
def test_the_train_command_says_which_expert_and_warns_of_pairs_that_it_never_shaped(
    a14b: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], expert: str, warned: bool
) -> None:
    project = empty_project(tmp_path / "project", a14b)
    for number in range(2):
        give_labels(project, plant_pair(project, number), "a", "b")
    assert cli.run(["train", str(project.root), "--dry-run", "--device", "cpu", "--expert", expert]) == 0
    told = " ".join(capsys.readouterr().out.split())
    levels = "0 to 0.875" if expert == "low" else "0.875 to 1"
    assert f"training the {expert}-noise one, of noise levels from {levels}" in told
    assert ("warning: 2 guided pairs start below 0.875" in told) is warned


def test_ti2v_samples_as_in_the_diffusers_pipeline(ti2v: Path) -> None:
    model = model_at(ti2v)
    assert pipeline_at(ti2v).config.expand_timesteps
    start = torch.stack([noise(model.latent_shape(9, 64, 96), "start", i) for i in range(2)])
    expected = theirs(ti2v, start)
    assert (ours(model, start, 4.0) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_an_adapter_of_ti2v_samples_the_same_in_a_fresh_pipeline(ti2v: Path, tmp_path: Path) -> None:
    model = model_at(ti2v)
    start = torch.stack([noise(model.latent_shape(9, 64, 96), "start", i) for i in range(2)])
    base = ours(model, start, 4.0)
    with trained_adapter(model):
        tuned = ours(model, start, 4.0)
        lora.save_adapter(model.denoiser, tmp_path, {})
    pipeline = pipeline_at(ti2v)
    pipeline.load_lora_weights(tmp_path)
    expected = theirs(ti2v, start)
    pipeline.unload_lora_weights()
    assert relative_error(tuned, expected) <= 1e-5
    assert relative_error(base, expected) > 0.01


def test_ti2v_takes_sides_of_32_and_has_48_channels(ti2v: Path) -> None:
    model = model_at(ti2v)
    assert model.latent_shape(9, 64, 96) == (48, 3, 4, 6)
    with pytest.raises(UserError, match=r"height 48 does not fit this model \(a multiple of 32\): use 32 or 64"):
        model.latent_shape(9, 48, 64)


def test_ti2v_encodes_and_decodes_as_the_pipeline_does(ti2v: Path) -> None:
    model, pipeline = model_at(ti2v), pipeline_at(ti2v)
    clips = np.random.default_rng(0).integers(0, 256, (2, 9, 64, 64, 3), dtype=np.uint8)
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    mean, std = (torch.tensor(pipeline.vae.config[key]).view(1, 48, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    with torch.no_grad():
        mode = pipeline.vae.encode(pixels).latent_dist.mode()
        decoded = pipeline.vae.decode(latents * std + mean).sample
    assert latents.shape == (2, *model.latent_shape(9, 64, 64))
    torch.testing.assert_close(latents, (mode - mean) / std, rtol=0, atol=1e-5)
    shown = pipeline.video_processor.postprocess_video(decoded, output_type="np") * 255
    assert np.abs(model.decode(latents) - shown).max() <= 0.5 + 1e-3


def test_ti2vs_official_defaults(ti2v: Path, tmp_path: Path) -> None:
    folder = variant(ti2v, tmp_path / "official", "model_index.json")
    (folder / "densedpo.json").unlink()
    defaults = model_at(folder).defaults
    assert json.loads((folder / "model_index.json").read_text())["expand_timesteps"]
    assert (defaults.width, defaults.height, defaults.frames, defaults.fps, defaults.guidance) == (
        1280,
        704,
        121,
        24.0,
        5.0,
    )
