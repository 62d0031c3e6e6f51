"""LTX-Video: our parts against diffusers' pipeline on the same folder."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LTXPipeline
from family_checks import relative_error, told, trained_adapter
from numpy.typing import NDArray
from tiny_ltx import random_ltx
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import generator, noise, seed_of
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.ltx import DECODE_NOISE, LTXModel
from densedpo.models.pipelines import LoadOptions

PROMPTS = ["a red circle moves left", "a blue square moves down slowly"]
NEGATIVE = "worst quality"
SHAPE = (8, 2, 2, 3)
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_ltx(tmp_path_factory.mktemp("models") / "ltx")


def loaded(folder: Path) -> LTXModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, LTXModel)
    return model


def official(folder: Path) -> LTXPipeline:
    pipeline = LTXPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def model(folder: Path) -> LTXModel:
    return loaded(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> LTXPipeline:
    return official(folder)


@pytest.fixture(scope="module")
def start() -> Tensor:
    return torch.stack([noise(SHAPE, "start", i) for i in range(2)])


def ours(model: LTXModel, start: Tensor, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS[: len(start)]), model.encode_text([NEGATIVE] * len(start))
    return sample(model, start, [model.sigmas(STEPS)] * len(start), positive, negative, guidance)


def theirs(pipeline: LTXPipeline, start: Tensor, guidance: float, **changes: object) -> Tensor:
    values = {
        "prompt": PROMPTS[: len(start)],
        "negative_prompt": [NEGATIVE] * len(start),
        "latents": start.flatten(2).transpose(1, 2),
        "num_inference_steps": STEPS,
        "guidance_scale": guidance,
        "width": 96,
        "height": 64,
        "num_frames": 9,
        "frame_rate": 12,
        "max_sequence_length": 12,
        "output_type": "latent",
    }
    return pipeline(**values | changes).frames


def unpacked(tokens: Tensor) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, SHAPE[1:])


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_text_to_video_equals_the_pipeline(
    model: LTXModel, pipeline: LTXPipeline, start: Tensor, guidance: float
) -> None:
    expected = unpacked(theirs(pipeline, start, guidance))
    assert torch.equal(model.sigmas(STEPS), pipeline.scheduler.sigmas)
    assert relative_error(ours(model, start, guidance), expected) <= 1e-5


def test_the_network_is_told_a_thousand_sigma_and_the_frame_rate(model: LTXModel) -> None:
    with told(model) as given:
        model.predict(noise((2, *SHAPE), "x"), torch.tensor([0.25, 1.0]), model.encode_text(PROMPTS))
    assert given["timestep"].tolist() == [250.0, 1000.0]
    assert given["rope_interpolation_scale"] == (8 / 12, 32, 32)
    assert given["hidden_states"].shape == (2, 12, 8)


def test_another_frame_rate_is_another_video(model: LTXModel, pipeline: LTXPipeline, start: Tensor) -> None:
    """Or the parity above would say nothing about it."""
    faster = unpacked(theirs(pipeline, start, 3.0, frame_rate=24))
    assert relative_error(ours(model, start, 3.0), faster) > 1e-3


def test_what_it_is_trained_to_predict_leads_back_to_the_clip(model: LTXModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official trainer regresses noise minus latents, token by token."""
    clean, eps = noise((2, *SHAPE), "clean"), noise((2, *SHAPE), "eps")
    answer = (eps - clean).flatten(2).transpose(1, 2)
    monkeypatch.setattr(model.denoiser, "forward", lambda **_: (answer,))
    text = model.encode_text(PROMPTS)
    sigma = torch.tensor([0.7, 0.3])
    noisy = model.process.add_noise(clean, eps, sigma)
    prediction = model.predict(noisy, sigma, text)
    assert torch.equal(prediction, model.process.target(clean, eps, sigma))
    torch.testing.assert_close(model.process.step(noisy, prediction, sigma, torch.zeros(2)), clean)
    whole = sample(model, eps, [model.sigmas(STEPS)] * 2, text, text, 1.0)
    torch.testing.assert_close(whole, clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "mean_shift"), [((1, 32, 32), 0.95), ((4, 32, 32), 2.05), ((10, 16, 16), 0.95 + 1.1 / 2)]
)
def test_the_schedule_is_shifted_by_the_number_of_tokens_and_ends_at_a_tenth(
    model: LTXModel, tokens: tuple[int, ...], mean_shift: float
) -> None:
    grid = [1 - i / 10 for i in range(10)]
    away = [1 - math.exp(mean_shift) / (math.exp(mean_shift) + 1 / t - 1) for t in grid]
    expected = [1 - 0.9 * a / away[-1] for a in away] + [0.0]
    torch.testing.assert_close(model.sigmas(10, (8, *tokens)), torch.tensor(expected), rtol=0, atol=1e-6)


def test_the_schedule_is_that_of_the_default_size(model: LTXModel) -> None:
    assert torch.equal(model.sigmas(10), model.sigmas(10, SHAPE))
    assert (model.sigmas(10, (8, 21, 15, 22))[1:-2] > model.sigmas(10)[1:-2]).all()
    with pytest.raises(UserError, match=r"1 steps are too few for LTX-Video: use 2 or more"):
        model.sigmas(1)


def test_training_sigmas_are_those_of_the_official_trainer(model: LTXModel) -> None:
    """At 1024 tokens the mean is 0.95, at 4096 it is 2.05; 0.8413447 of a normal lies below its first deviation."""
    uniform = torch.tensor([0.5, 0.8413447461, 1 - 0.8413447461], dtype=torch.float64)
    few, many = model.training_sigmas(uniform, (8, 4, 16, 16)), model.training_sigmas(uniform, (8, 16, 16, 16))
    expected = torch.tensor([[0.95, 1.95, -0.05], [2.05, 3.05, 1.05]], dtype=torch.float64)
    torch.testing.assert_close(torch.logit(torch.stack([few, many])), expected, rtol=0, atol=1e-6)


@pytest.fixture
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 64, 96, 3), dtype=np.uint8)


def test_encoding_normalises_the_posteriors_mean(
    model: LTXModel, pipeline: LTXPipeline, clips: NDArray[np.uint8]
) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mode = pipeline.vae.encode(pixels).latent_dist.mode()
    mean, std = torch.linspace(-1, 1, 8).view(1, 8, 1, 1, 1), torch.linspace(0.5, 2, 8).view(1, 8, 1, 1, 1)
    assert (latents.shape, latents.dtype) == ((2, *SHAPE), torch.float32)
    torch.testing.assert_close(latents / 0.8 * std + mean, mode, rtol=0, atol=1e-5)
    assert (latents - mode).abs().max() > 0.5
    assert model.decode(latents).shape == clips.shape


@pytest.mark.parametrize("decoder_denoises", [False, True])
def test_decoding_gives_the_pixels_of_the_pipeline(
    folder: Path, tmp_path: Path, start: Tensor, decoder_denoises: bool
) -> None:
    place = random_ltx(tmp_path / "ltx", decoder_denoises=True) if decoder_denoises else folder
    model, pipeline = loaded(place), official(place)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*DECODE_NOISE))
        expected = theirs(
            pipeline,
            start[:1],
            3.0,
            generator=generator(*DECODE_NOISE),
            decode_timestep=0.1,
            decode_noise_scale=0.3,
            output_type="np",
        )
    latents = ours(model, start[:1], 3.0)
    before = torch.random.get_rng_state()
    decoded = model.decode(latents)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (decoded.shape, decoded.dtype) == ((1, 9, 64, 96, 3), np.uint8)
    assert np.abs(decoded - expected * 255).max() <= 0.5 + 0.01
    assert decoded.std() > 5
    both = model.decode(torch.cat([noise((1, *SHAPE), "neighbour"), latents]))
    assert np.abs(both[1].astype(int) - decoded[0]).max() <= 1


def test_the_noise_and_the_timestep_of_a_denoising_decoder_show(tmp_path: Path) -> None:
    model = loaded(random_ltx(tmp_path / "ltx", decoder_denoises=True))
    latents = noise((1, *SHAPE), "latents")
    usual = model.decode(latents).astype(int)
    model.decode_timestep = 0.9
    assert np.abs(model.decode(latents) - usual).max() > 2
    model.decode_timestep, model.decode_noise_scale = 0.1, 0.0
    assert np.abs(model.decode(latents) - usual).max() > 2


def test_text_is_encoded_as_the_pipeline_does_it(model: LTXModel, pipeline: LTXPipeline) -> None:
    prompts = [*PROMPTS, ""]
    with torch.no_grad():
        text, mask, _, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=12)
    encoded = model.encode_text(prompts).tensors
    torch.testing.assert_close(encoded["text"], text, rtol=0, atol=1e-6)
    assert torch.equal(encoded["mask"], mask)
    assert encoded["mask"].sum(1).tolist() == [6, 7, 1]
    assert torch.equal(model.encode_text(PROMPTS[1:]).tensors["text"][0], encoded["text"][1])


def test_what_the_padding_holds_does_not_matter(model: LTXModel) -> None:
    noisy, sigma = noise((2, *SHAPE), "noisy"), torch.tensor([0.2, 0.9])
    encoded = model.encode_text(PROMPTS).tensors
    other = encoded["text"] + 3 * ~encoded["mask"][:, :, None]
    predicted = model.predict(noisy, sigma, Conditioning(encoded))
    again = model.predict(noisy, sigma, Conditioning(encoded | {"text": other}))
    assert not torch.equal(other, encoded["text"])
    assert relative_error(again, predicted) <= 1e-6


def test_a_caption_that_is_too_long_is_reported(model: LTXModel) -> None:
    caption = "a red circle moves left slowly " * 3
    message = r"the caption 'a red circle moves left slowly a red cir'\.\.\. has 19 tokens, .* reads the first 12"
    with pytest.warns(UserWarning, match=message):
        encoded = model.encode_text([PROMPTS[0], caption])
    assert encoded.tensors["mask"][1].all()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((10, 64, 96), r"10 frames do not fit this model \(1 \+ 8k\): use 9 or 17"),
        ((0, 64, 96), r"0 frames do not fit this model \(1 \+ 8k\): use 1 or 9"),
        ((9, 80, 96), r"height 80 does not fit this model \(a multiple of 32\): use 64 or 96"),
        ((9, 64, 20), r"width 20 does not fit this model \(a multiple of 32\): use 32 or 64"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(
    model: LTXModel, size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        model.latent_shape(*size)


def test_without_a_side_file_it_has_its_makers_defaults(folder: Path, model: LTXModel) -> None:
    plain = LTXModel(folder, model.pipeline, LoadOptions(torch.device("cpu"), torch.float32), {})
    size = plain.defaults
    assert (size.steps, size.guidance, size.fps) == (50, 3.0, 25.0)
    assert plain.latent_shape(size.frames, size.height, size.width) == (8, 21, 15, 22)
    assert (plain.decode_timestep, plain.decode_noise_scale, plain.max_sequence_length) == (0.05, 0.025, 128)


def test_a_saved_adapter_samples_the_same_in_a_fresh_pipeline(
    model: LTXModel, folder: Path, start: Tensor, tmp_path: Path
) -> None:
    base = ours(model, start, 3.0)
    with trained_adapter(model):
        tuned = ours(model, start, 3.0)
        lora.save_adapter(model.denoiser, tmp_path, {})
        with lora.adapter_off(model.denoiser):
            assert torch.equal(ours(model, start, 3.0), base)
    fresh = official(folder)
    fresh.load_lora_weights(tmp_path)
    assert relative_error(tuned, unpacked(theirs(fresh, start, 3.0))) <= 1e-5
    assert relative_error(tuned, base) > 0.01


def test_adapters_go_on_the_attentions_of_every_block(model: LTXModel) -> None:
    layers = ("to_q", "to_k", "to_v", "to_out.0")
    names = {f"transformer_blocks.{b}.{a}.{layer}" for b in (0, 1) for a in ("attn1", "attn2") for layer in layers}
    assert set(model.lora_targets) == names


def test_in_bfloat16_it_predicts_in_float32_and_the_autoencoder_keeps_every_bit(folder: Path, model: LTXModel) -> None:
    """How a model runs on a GPU."""
    coarse = load_model(str(folder), device="cpu", dtype=torch.bfloat16)
    noisy, sigma = noise((2, *SHAPE), "noisy"), torch.tensor([0.2, 0.9])
    predicted = coarse.predict(noisy, sigma, coarse.encode_text(PROMPTS))
    expected = model.predict(noisy, sigma, model.encode_text(PROMPTS))
    assert predicted.dtype == torch.float32
    assert 0 < relative_error(predicted, expected) < 0.05
    assert (coarse.decode(noisy) == model.decode(noisy)).all()
