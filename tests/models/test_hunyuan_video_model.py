"""HunyuanVideo against diffusers' pipeline on the same folder of random weights."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import HunyuanVideoPipeline
from family_checks import relative_error, told, trained_adapter
from model_folders import variant
from numpy.typing import NDArray
from tiny_hunyuan_video import random_hunyuan_video
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.hunyuan_video import HunyuanVideoModel

SHAPE = (4, 2, 4, 6)
PROMPTS, NEGATIVE = ["a red circle moves left", "a blue square moves down slowly"], "a square"
START, SIGMA = noise((2, *SHAPE), "start"), torch.tensor([0.4, 0.9])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_hunyuan_video(tmp_path_factory.mktemp("models") / "hunyuan-video")


def at(folder: Path, **options: Any) -> HunyuanVideoModel:
    model = load_model(str(folder), device="cpu", **options)
    assert isinstance(model, HunyuanVideoModel)
    return model


@pytest.fixture(scope="module")
def model(folder: Path) -> HunyuanVideoModel:
    return at(folder)


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 5, 32, 48, 3), dtype=np.uint8)


def official(folder: Path) -> HunyuanVideoPipeline:
    pipeline = HunyuanVideoPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: HunyuanVideoPipeline, guidance: float, output: str) -> Any:
    return pipeline(
        prompt=PROMPTS,
        negative_prompt=[NEGATIVE] * 2,
        true_cfg_scale=guidance,
        guidance_scale=6.0,
        latents=START.clone(),
        num_inference_steps=3,
        height=32,
        width=48,
        num_frames=5,
        max_sequence_length=12,
        output_type=output,
    ).frames


def ours(model: HunyuanVideoModel, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text([NEGATIVE] * 2)
    return sample(model, START, [model.sigmas(3)] * 2, positive, negative, guidance)


def close(a: Tensor, b: Tensor, error: float = 1e-5) -> bool:
    return relative_error(a, b) <= error


def test_sampling_equals_the_pipeline_with_and_without_true_guidance(model: HunyuanVideoModel, folder: Path) -> None:
    pipeline = official(folder)
    plain, guided = ours(model, 1.0), ours(model, 3.0)
    assert close(plain, theirs(pipeline, 1.0, "latent"))
    assert close(guided, theirs(pipeline, 3.0, "latent"))
    assert not close(guided, plain, 0.01)
    video = theirs(pipeline, 1.0, "np") * 255
    decoded = model.decode(plain)
    assert (decoded.shape, decoded.dtype) == ((2, 5, 32, 48, 3), np.uint8)
    assert np.abs(decoded - video).max() <= 0.5 + 0.01
    assert decoded.std() > 5


def test_encoding_scales_the_posteriors_mean_and_decoding_undoes_it(
    model: HunyuanVideoModel, folder: Path, clips: NDArray[np.uint8]
) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mean = model.vae.encode(pixels).latent_dist.mean
    assert (latents.shape, latents.dtype) == ((2, *SHAPE), torch.float32)
    assert close(latents / 0.476986, mean)
    assert model.decode(latents).shape == clips.shape


def test_clips_longer_than_the_autoencoders_window_have_as_many_latent_frames(model: HunyuanVideoModel) -> None:
    """Beyond 16 frames it codes overlapping windows and blends them."""
    shape = model.latent_shape(21, 16, 16)
    latents = model.encode(np.zeros((1, 21, 16, 16, 3), dtype=np.uint8))
    assert latents.shape == (1, *shape)
    assert model.decode(latents).shape == (1, 21, 16, 16, 3)


def test_text_is_encoded_as_the_pipeline_does_it(model: HunyuanVideoModel, folder: Path) -> None:
    with torch.no_grad():
        text, pooled, mask = official(folder).encode_prompt([*PROMPTS, ""], max_sequence_length=12)
    tensors = model.encode_text([*PROMPTS, ""]).tensors
    assert torch.equal(tensors["text"], text)
    assert torch.equal(tensors["pooled"], pooled)
    assert torch.equal(tensors["mask"], mask)
    assert tensors["mask"].sum(1).tolist() == [6, 7, 1]  # the words and the end of the message
    assert tensors["guidance"].tolist() == [6.0] * 3


def test_rows_do_not_depend_on_their_neighbours(model: HunyuanVideoModel, clips: NDArray[np.uint8]) -> None:
    together = model.encode_text(PROMPTS)
    prediction = model.predict(START, SIGMA, together).detach()
    latents = model.encode(clips)
    for i in range(2):
        alone = model.encode_text(PROMPTS[i : i + 1])
        for name, values in alone.tensors.items():
            assert torch.allclose(values, together.tensors[name][i : i + 1], atol=1e-5), name
        assert close(model.predict(START[i : i + 1], SIGMA[i : i + 1], alone).detach(), prediction[i : i + 1])
        assert close(model.encode(clips[i : i + 1]), latents[i : i + 1])
    swapped = model.predict(START, SIGMA, together.take([1, 0])).detach()
    assert not close(swapped, prediction, 0.01)  # the text matters


def test_the_network_is_told_a_thousand_sigma_and_a_thousand_guidance(
    model: HunyuanVideoModel,
) -> None:
    with told(model) as given:
        model.predict(START, torch.tensor([0.25, 1.0]), model.encode_text(PROMPTS))
    assert given["timestep"].tolist() == [250.0, 1000.0]
    assert given["guidance"].tolist() == [6000.0, 6000.0]


def test_another_embedded_guidance_is_another_model(model: HunyuanVideoModel, folder: Path, tmp_path: Path) -> None:
    other = at(variant(folder, tmp_path / "other", "densedpo.json", embedded_guidance=1.0))
    text = other.encode_text(PROMPTS)
    assert text.tensors["guidance"].tolist() == [1.0, 1.0]
    prediction = model.predict(START, SIGMA, model.encode_text(PROMPTS)).detach()
    assert not close(other.predict(START, SIGMA, text).detach(), prediction, 0.001)
    assert (other.model_hash != model.model_hash, other.vae_hash) == (True, model.vae_hash)


def test_in_bfloat16_the_guidance_is_rounded_as_in_the_pipeline(folder: Path) -> None:
    """6000 lies halfway between its neighbours there, 5984 and 6016."""
    model = at(folder, dtype=torch.bfloat16)
    with told(model) as given:
        prediction = model.predict(START, SIGMA, model.encode_text(PROMPTS))
    assert (prediction.dtype, given["hidden_states"].dtype) == (torch.float32, torch.bfloat16)
    assert given["guidance"].tolist() == [6016.0, 6016.0]


def test_the_schedule_is_equal_steps_shifted_by_seven(model: HunyuanVideoModel) -> None:
    assert model.sigmas(3).tolist() == pytest.approx([1, 14 / 15, 7 / 9, 0])


def test_training_noise_levels_are_logit_normal_and_shifted_by_seven(model: HunyuanVideoModel) -> None:
    one_deviation = 0.5 + 0.5 * math.erf(0.5**0.5)
    drawn = model.training_sigmas(torch.tensor([0.5, one_deviation]), SHAPE)
    assert drawn.tolist() == pytest.approx([0.875, 7 * 0.7310586 / (1 + 6 * 0.7310586)], rel=1e-5)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((10, 32, 48), r"10 frames do not fit this model \(1 \+ 4k\): use 9 or 13"),
        ((9, 40, 48), r"height 40 does not fit this model \(a multiple of 16\): use 32 or 48"),
        ((9, 32, 8), r"width 8 does not fit this model \(a multiple of 16\): use 16 or 32"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(
    model: HunyuanVideoModel, size: tuple[int, int, int], message: str
) -> None:
    assert model.latent_shape(5, 32, 48) == SHAPE
    with pytest.raises(UserError, match=message):
        model.latent_shape(*size)


def test_a_prompt_that_is_cut_warns(model: HunyuanVideoModel) -> None:
    model.encode_text(["a red circle moves left slowly a blue square moves down"])  # 11 words and the end
    with pytest.warns(UserWarning, match=r"the caption 'slowly a red .* has 13 tokens, of which .* the first 12"):
        model.encode_text(["slowly a red circle moves left slowly a blue square moves down"])


def test_an_adapter_samples_the_same_in_a_fresh_pipeline_and_switched_off_it_is_the_base(
    model: HunyuanVideoModel, folder: Path, tmp_path: Path
) -> None:
    text = model.encode_text(PROMPTS)
    base, base_sample = model.predict(START, SIGMA, text).detach(), ours(model, 1.0)
    assert len(model.lora_targets) == (14 + 6)
    with trained_adapter(model):
        lora.save_adapter(model.denoiser, tmp_path, {})
        tuned = ours(model, 1.0)
        with lora.adapter_off(model.denoiser):
            assert torch.equal(model.predict(START, SIGMA, text).detach(), base)
    pipeline = official(folder)
    pipeline.load_lora_weights(tmp_path)
    assert close(tuned, theirs(pipeline, 1.0, "latent"))
    assert not close(tuned, base_sample, 0.01)


def test_an_adapters_gradients_are_finite_beside_padding(model: HunyuanVideoModel) -> None:
    with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0) as parameters:
        model.predict(START, SIGMA, model.encode_text(["a", ""])).square().mean().backward()
        gradients = [parameter.grad for parameter in parameters]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients if gradient is not None)
