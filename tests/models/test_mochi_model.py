"""Mochi: our parts against diffusers' pipeline on the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import MochiPipeline
from family_checks import relative_error, told, trained_adapter
from numpy.typing import NDArray
from tiny_mochi import random_mochi
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.mochi import MochiModel
from densedpo.models.pipelines import LoadOptions

# diffusers computes Mochi's rotary tables under an autocast that a CPU does not have (`MochiRoPE._create_rope`)
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype is not supported")

PROMPTS = ["a red circle moves left", "a blue square moves down slowly"]
SHAPE = (12, 2, 4, 6)
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_mochi(tmp_path_factory.mktemp("models") / "mochi")


@pytest.fixture(scope="module")
def model(folder: Path) -> MochiModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, MochiModel)
    return model


def official(folder: Path) -> MochiPipeline:
    pipeline = MochiPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> MochiPipeline:
    return official(folder)


@pytest.fixture(scope="module")
def start() -> Tensor:
    return torch.stack([noise(SHAPE, "start", i) for i in range(2)])


def ours(model: MochiModel, start: Tensor, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["", ""])
    return sample(model, start, [model.sigmas(STEPS)] * 2, positive, negative, guidance)


def theirs(pipeline: MochiPipeline, start: Tensor, guidance: float, output_type: str = "latent") -> Tensor:
    return pipeline(
        prompt=PROMPTS,
        latents=start,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        width=48,
        height=32,
        num_frames=7,
        max_sequence_length=12,
        output_type=output_type,
    ).frames


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_text_to_video_equals_the_pipeline(
    model: MochiModel, pipeline: MochiPipeline, start: Tensor, guidance: float
) -> None:
    expected = theirs(pipeline, start, guidance)
    sigmas = model.sigmas(STEPS)
    assert torch.equal(1 - sigmas, pipeline.scheduler.sigmas)
    assert torch.equal((1 - sigmas[:-1]) * 1000, pipeline.scheduler.timesteps)
    assert relative_error(ours(model, start, guidance), expected) <= 1e-5


def test_the_schedule_is_linear_then_quadratic(model: MochiModel) -> None:
    """Four steps: two of 0.0125, then a parabola through the second with slope 0.0125 there that ends at 0."""
    torch.testing.assert_close(model.sigmas(4), torch.tensor([1, 0.9875, 0.975, 0.725, 0]), rtol=0, atol=1e-6)
    official = model.sigmas(64)
    assert (len(official), official[0], official[-1]) == (65, 1, 0)
    assert (official.diff() < 0).all()
    with pytest.raises(UserError, match=r"1 steps are too few for Mochi: use 2 or more"):
        model.sigmas(1)


def test_the_network_is_told_a_thousand_times_how_much_is_clip(model: MochiModel) -> None:
    with told(model) as given:
        model.predict(noise((2, *SHAPE), "x"), torch.tensor([0.25, 1.0]), model.encode_text(PROMPTS))
    assert given["timestep"].tolist() == [750.0, 0.0]


def test_what_it_is_trained_to_predict_leads_back_to_the_clip(
    model: MochiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official fine-tuner regresses clip minus noise."""
    clean, eps = noise((2, *SHAPE), "clean"), noise((2, *SHAPE), "eps")
    monkeypatch.setattr(model.denoiser, "forward", lambda **_: (clean - eps,))
    text = model.encode_text(PROMPTS)
    sigma = torch.tensor([0.7, 0.3])
    noisy = model.process.add_noise(clean, eps, sigma)
    prediction = model.predict(noisy, sigma, text)
    assert torch.equal(prediction, model.process.target(clean, eps, sigma))
    torch.testing.assert_close(model.process.step(noisy, prediction, sigma, torch.zeros(2)), clean)
    whole = sample(model, eps, [model.sigmas(STEPS)] * 2, text, text, 1.0)
    torch.testing.assert_close(whole, clean, rtol=0, atol=1e-5)


def test_training_sigmas_are_uniform(model: MochiModel) -> None:
    uniform = torch.tensor([0.1, 0.5, 0.9])
    assert torch.equal(model.training_sigmas(uniform, SHAPE), uniform)


@pytest.fixture
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 7, 32, 48, 3), dtype=np.uint8)


def test_encoding_normalises_the_posteriors_mean(
    model: MochiModel, pipeline: MochiPipeline, clips: NDArray[np.uint8]
) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    config = pipeline.vae.config
    mean, std = (torch.tensor(config[key]).view(1, 12, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    with torch.no_grad():
        mode = pipeline.vae.encode(pixels).latent_dist.mode()
    assert (latents.shape, latents.dtype) == ((2, *SHAPE), torch.float32)
    torch.testing.assert_close(latents / 0.8 * std + mean, mode, rtol=0, atol=1e-5)
    assert relative_error(latents, mode) > 0.1
    assert model.decode(latents).shape == clips.shape


def test_decoding_gives_the_pixels_of_the_pipeline(model: MochiModel, pipeline: MochiPipeline, start: Tensor) -> None:
    expected = theirs(pipeline, start, 3.0, output_type="np")
    decoded = model.decode(ours(model, start, 3.0))
    assert (decoded.shape, decoded.dtype) == ((2, 7, 32, 48, 3), np.uint8)
    assert np.abs(decoded - expected * 255).max() <= 0.5 + 0.01
    assert decoded.std() > 5


def test_text_is_encoded_as_the_pipeline_does_it(model: MochiModel, pipeline: MochiPipeline) -> None:
    with torch.no_grad():
        text, mask, _, _ = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False, max_sequence_length=12)
        nothing, none, _, _ = pipeline.encode_prompt([""], do_classifier_free_guidance=False, max_sequence_length=12)
    encoded = model.encode_text([*PROMPTS, ""]).tensors
    torch.testing.assert_close(encoded["text"], torch.cat([text, nothing]), rtol=0, atol=1e-6)
    assert torch.equal(encoded["mask"], torch.cat([mask, none]))
    assert encoded["mask"].sum(1).tolist() == [6, 7, 0]  # an empty prompt is nothing at all, and blanks no other


def test_a_caption_that_is_too_long_is_reported(model: MochiModel) -> None:
    with pytest.warns(UserWarning, match=r"has 19 tokens, of which this model reads the first 12"):
        encoded = model.encode_text([PROMPTS[0], "a red circle moves left slowly " * 3])
    assert encoded.tensors["mask"][1].all()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((12, 32, 48), r"12 frames do not fit this model \(1 \+ 6k\): use 7 or 13"),
        ((0, 32, 48), r"0 frames do not fit this model \(1 \+ 6k\): use 1 or 7"),
        ((7, 40, 48), r"height 40 does not fit this model \(a multiple of 16\): use 32 or 48"),
        ((7, 32, 15), r"width 15 does not fit this model \(a multiple of 16\): use 16 or 32"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(
    model: MochiModel, size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        model.latent_shape(*size)


def test_without_a_side_file_it_has_its_makers_defaults(folder: Path, model: MochiModel) -> None:
    plain = MochiModel(folder, model.pipeline, LoadOptions(torch.device("cpu"), torch.float32), {})
    size = plain.defaults
    assert (size.steps, size.guidance, size.negative_prompt, size.fps) == (64, 4.5, "", 30.0)
    assert plain.latent_shape(size.frames, size.height, size.width) == (12, 28, 60, 106)
    assert plain.max_sequence_length == 256


def test_a_saved_adapter_samples_the_same_in_a_fresh_pipeline(
    model: MochiModel, folder: Path, start: Tensor, tmp_path: Path
) -> None:
    base = ours(model, start, 3.0)
    with trained_adapter(model):
        tuned = ours(model, start, 3.0)
        lora.save_adapter(model.denoiser, tmp_path, {})
        with lora.adapter_off(model.denoiser):
            assert torch.equal(ours(model, start, 3.0), base)
    fresh = official(folder)
    fresh.load_lora_weights(tmp_path)
    assert relative_error(tuned, theirs(fresh, start, 3.0)) <= 1e-5
    assert relative_error(tuned, base) > 0.01


def test_adapters_go_on_the_video_side_of_every_attention(model: MochiModel) -> None:
    layers = ("to_q", "to_k", "to_v", "to_out.0")
    assert set(model.lora_targets) == {f"transformer_blocks.{b}.attn1.{layer}" for b in (0, 1) for layer in layers}


def test_in_bfloat16_it_predicts_in_float32_and_the_autoencoder_keeps_every_bit(
    folder: Path, model: MochiModel
) -> None:
    """How a model runs on a GPU."""
    coarse = load_model(str(folder), device="cpu", dtype=torch.bfloat16)
    noisy, sigma = noise((2, *SHAPE), "noisy"), torch.tensor([0.2, 0.9])
    predicted = coarse.predict(noisy, sigma, coarse.encode_text(PROMPTS))
    expected = model.predict(noisy, sigma, model.encode_text(PROMPTS))
    assert predicted.dtype == torch.float32
    assert 0 < relative_error(predicted, expected) < 0.05
    assert (coarse.decode(noisy) == model.decode(noisy)).all()
