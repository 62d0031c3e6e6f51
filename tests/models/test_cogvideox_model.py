"""CogVideoX models of all three kinds, against diffusers' pipelines on the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXPipeline, CogVideoXVideoToVideoPipeline
from diffusers.utils.torch_utils import randn_tensor
from model_folders import variant
from PIL import Image
from tiny_cogvideox import (
    KINDS,
    PROMPTS,
    clips,
    diffusers_pipeline,
    loaded,
    ours,
    random_cogvideox,
    relative_error,
    starts,
    theirs,
)

from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.cogvideox import CogVideoXModel

PADDED = "1.5"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cogvideox")
    return {kind: random_cogvideox(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path], kind: str) -> Path:
    return folders[kind]


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVideoXModel:
    return loaded(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> CogVideoXPipeline:
    """The same model as diffusers itself loads it."""
    return diffusers_pipeline(folder)


@pytest.mark.parametrize(("height", "width", "guidance"), [(32, 48, 3.0), (48, 32, 1.0)])
def test_samples_equal_those_of_the_diffusers_pipeline(
    model: CogVideoXModel, pipeline: CogVideoXPipeline, height: int, width: int, guidance: float
) -> None:
    """At the published size and at another, for which positions are computed differently."""
    start = starts(model, 9, height, width)
    expected = theirs(pipeline, start, 5, guidance, height=height, width=width).transpose(1, 2)
    assert relative_error(ours(model, start, model.sigmas(5), guidance), expected) <= 1e-5
    assert (expected - start).abs().max() > 0.1


def test_videos_equal_those_of_the_pipeline(model: CogVideoXModel, pipeline: CogVideoXPipeline) -> None:
    """The whole way to pixels: latents scaled back, padding dropped."""
    start = starts(model)
    expected = theirs(pipeline, start, 2, 3.0, output_type="np") * 255
    video = model.decode(ours(model, start, model.sigmas(2), 3.0))
    assert (video.shape, video.dtype) == ((2, 9, 32, 48, 3), np.uint8)
    assert np.abs(video - expected).max() <= 0.5 + 1e-2
    assert video.std() > 5


def test_guided_generation_equals_the_video_to_video_pipeline_from_its_level(
    model: CogVideoXModel, pipeline: CogVideoXPipeline, kind: str
) -> None:
    """Their video path encodes and noises by itself; 1.5's clips must come as latents, as it refuses to pad them."""
    video_to_video = CogVideoXVideoToVideoPipeline(**pipeline.components)
    video_to_video.set_progress_bar_config(disable=True)
    schedule = model.sigmas(5)[1:]
    if kind == PADDED:
        clean, eps = model.encode(clips(1, 17)), noise((1, 4, 6, 4, 6), "eps")
        given = {"latents": model.process.add_noise(clean, eps, schedule[:1]).transpose(1, 2)}
    else:
        generator = torch.Generator().manual_seed(1)
        pixels = torch.from_numpy(clips(1)).permute(0, 4, 1, 2, 3) / 255 * 2 - 1
        clean = pipeline.vae.encode(pixels).latent_dist.sample(generator) * pipeline.vae.config.scaling_factor
        eps = randn_tensor((1, 3, 4, 4, 6), generator=generator).transpose(1, 2)
        given = {
            "video": [Image.fromarray(frame) for frame in clips(1)[0]],
            "generator": torch.Generator().manual_seed(1),
        }
    told: list[int] = []
    hook = pipeline.transformer.register_forward_pre_hook(
        lambda _, __, values: told.append(int(values["timestep"][0])), with_kwargs=True
    )
    expected = video_to_video(
        prompt=PROMPTS[0],
        num_inference_steps=5,
        strength=0.8,
        guidance_scale=3.0,
        height=32,
        width=48,
        max_sequence_length=16,
        output_type="latent",
        **given,
    ).frames.transpose(1, 2)
    hook.remove()
    abar = pipeline.scheduler.alphas_cumprod[told[0]]
    their_sigma = ((1 - abar).sqrt() / (abar.sqrt() + (1 - abar).sqrt())).item()
    ours_starts = starting_at(model.sigmas(5), schedule[0].item())
    print(f"their pipeline starts at sigma {their_sigma:.6f}, ours at {ours_starts[0].item():.6f}")
    assert ours_starts[0].item() == pytest.approx(their_sigma, abs=1e-6)
    assert torch.equal(ours_starts, schedule)
    start = model.process.add_noise(clean, eps, ours_starts[:1])
    assert relative_error(ours(model, start, ours_starts, 3.0), expected) <= 1e-5
    assert (expected - clean).abs().max() > 0.1


def test_guided_generation_starts_at_the_level_nearest_to_the_eta_asked_for(model: CogVideoXModel) -> None:
    told: list[int] = []
    hook = model.denoiser.register_forward_pre_hook(
        lambda _, __, values: told.append(int(values["timestep"][0])), with_kwargs=True
    )
    schedule = starting_at(model.sigmas(5), 0.7123)
    clean, eps = model.encode(clips(1)), noise(model.latent_shape(9, 32, 48), "eps")[None]
    start = model.process.add_noise(clean, eps, schedule[:1])
    ours(model, start, schedule, 1.0)
    hook.remove()
    level = model.process.levels_N[told[0]]
    print(f"sigma asked for 0.712300, the network's nearest level and the clip's noise {level.item():.6f}")
    assert told[0] == (model.process.levels_N - 0.7123).abs().argmin()
    assert torch.equal(start, model.process.add_noise(clean, eps, level[None]))
    assert len(told) == len(schedule) - 1


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_the_target_fed_to_the_sampler_recovers_the_clip(
    model: CogVideoXModel, monkeypatch: pytest.MonkeyPatch, spacing: str
) -> None:
    scheduler = model._scheduler.from_config(model._scheduler.config, timestep_spacing=spacing)
    monkeypatch.setattr(model, "_scheduler", scheduler)
    clean, eps = starts(model), noise(starts(model).shape, "eps")
    monkeypatch.setattr(model, "predict", lambda _, sigma, __: model.process.target(clean, eps, sigma))
    for schedule in (model.sigmas(1), model.sigmas(7), starting_at(model.sigmas(5), 0.7123)):
        end = ours(model, model.process.add_noise(clean, eps, schedule[:1].expand(2)), schedule, 1.0)
        torch.testing.assert_close(end, clean, rtol=0, atol=1e-5)


def test_encoding_scales_the_posteriors_mean_and_pads_in_front(
    model: CogVideoXModel, pipeline: CogVideoXPipeline, kind: str
) -> None:
    latents = model.encode(clips())
    pixels = torch.from_numpy(clips()).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mode = pipeline.vae.encode(pixels).latent_dist.mode() * KINDS[kind]["scaling_factor"]
    assert model.padding_frames == (1 if kind == PADDED else 0)
    torch.testing.assert_close(latents[:, :, model.padding_frames :], mode, rtol=0, atol=1e-5)
    assert all(torch.equal(latents[:, :, i], latents[:, :, model.padding_frames]) for i in range(model.padding_frames))
    assert latents.dtype == torch.float32
    assert tuple(latents.shape[1:]) == model.latent_shape(9, 32, 48)
    assert model.decode(latents).shape == clips().shape


def test_padding_shows_nothing(model: CogVideoXModel) -> None:
    latents = starts(model)
    other = latents.clone()
    other[:, :, : model.padding_frames] += 1
    assert (model.decode(other) == model.decode(latents)).all()


def test_the_network_is_told_the_nearest_timestep(model: CogVideoXModel) -> None:
    told = {}
    hook = model.denoiser.register_forward_pre_hook(lambda _, __, given: told.update(given), with_kwargs=True)
    levels = model.process.levels_N
    sigma = torch.stack([levels[250] + 0.2 * (levels[251] - levels[250]), torch.tensor(1.0)])
    model.predict(starts(model), sigma, model.encode_text(PROMPTS))
    hook.remove()
    assert told["timestep"].tolist() == [250, 999]
    assert told["timestep"].dtype == torch.int64
    assert told["hidden_states"].shape == (2, *starts(model).transpose(1, 2).shape[1:])


def test_the_schedule_is_that_of_the_published_scheduler(model: CogVideoXModel, folder: Path, tmp_path: Path) -> None:
    """With 50 steps: timesteps 999, 979, ..., 19. A checkpoint that names the other scheduler has the same levels."""
    sigmas = model.sigmas(50)
    assert torch.equal(sigmas[:-1], model.process.levels_N[torch.arange(999, 0, -20)])
    assert (sigmas[0].item(), sigmas[-1].item(), len(sigmas)) == (1.0, 0.0, 51)
    with pytest.raises(UserError, match="1001 steps are too many for this model: use at most 1000"):
        model.sigmas(1001)
    other = variant(folder, tmp_path / "dpm", "model_index.json", scheduler=["diffusers", "CogVideoXDPMScheduler"])
    assert torch.equal(loaded(other).sigmas(50), sigmas)


def test_training_draws_timesteps_uniformly(model: CogVideoXModel) -> None:
    uniform = torch.tensor([1e-9, 0.0015, 0.5, 0.9999, 1 - 2**-24])
    drawn = model.training_sigmas(uniform, model.latent_shape(9, 32, 48))
    assert torch.equal(drawn, model.process.levels_N[[0, 1, 500, 999, 999]])


def test_official_defaults_by_version(model: CogVideoXModel, folder: Path, kind: str, tmp_path: Path) -> None:
    assert (model.defaults.steps, model.defaults.guidance, model.defaults.frames) == (5, 3.0, 9)
    whole = variant(folder, tmp_path / "official", "model_index.json")
    (whole / "densedpo.json").unlink()
    official = loaded(whole).defaults
    assert (official.steps, official.guidance, official.negative_prompt) == (50, 6.0, "")
    size = (official.width, official.height, official.frames, official.fps)
    assert size == ((1360, 768, 81, 16.0) if kind == PADDED else (720, 480, 49, 8.0))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((13, 48, 64), r"13 frames do not fit this model \(1 \+ 8k\): use 9 or 17"),
        ((0, 48, 64), r"0 frames do not fit this model \(1 \+ 8k\): use 1 or 9"),
        ((9, 40, 64), r"height 40 does not fit this model \(a multiple of 16\): use 32 or 48"),
        ((9, 48, 8), r"width 8 does not fit this model \(a multiple of 16\): use 16 or 32"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(
    model: CogVideoXModel, size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        model.latent_shape(*size)


def test_only_version_1_5_has_a_largest_size(model: CogVideoXModel, kind: str) -> None:
    if kind == PADDED:
        assert model.latent_shape(17, 64, 64) == (4, 6, 8, 8)
        with pytest.raises(UserError, match="width 80 does not fit this model: use at most 64"):
            model.latent_shape(17, 64, 80)
    else:
        assert model.latent_shape(17, 64, 80) == (4, 5, 8, 10)


def test_text_is_encoded_as_the_pipeline_does_it(model: CogVideoXModel, pipeline: CogVideoXPipeline) -> None:
    prompts = ["a red circle moves left", "", "a blue square"]
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=16)
    encoded = model.encode_text(prompts).tensors["text"]
    assert torch.equal(encoded, expected)
    assert encoded.shape == (3, 16, 32)
    assert not torch.equal(encoded[0], encoded[2])


def test_a_caption_that_is_too_long_warns(model: CogVideoXModel) -> None:
    with pytest.warns(UserWarning, match=r"'a red circle moves left a red circle mov.*21 tokens.*first 16"):
        model.encode_text([PROMPTS[1], " ".join([PROMPTS[0]] * 4)])


def test_a_checkpoint_that_does_not_predict_v_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = variant(folders["2b"], tmp_path / "eps", "scheduler/scheduler_config.json", prediction_type="epsilon")
    with pytest.raises(UserError, match="predicts 'epsilon', not v"):
        load_model(str(folder))
