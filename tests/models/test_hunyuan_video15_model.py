"""HunyuanVideo 1.5 against diffusers' pipeline on the same folder of random weights."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import HunyuanVideo15Pipeline
from family_checks import relative_error, told, trained_adapter
from model_folders import variant
from numpy.typing import NDArray
from tiny_hunyuan_video15 import random_hunyuan_video15
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.hunyuan_video15 import HunyuanVideo15Model

SHAPE = (4, 2, 2, 3)
PROMPTS, NEGATIVE = ["a red circle moves left", 'a blue "square" moves down slowly'], "a square"
START, SIGMA = noise((2, *SHAPE), "start"), torch.tensor([0.4, 0.9])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_hunyuan_video15(tmp_path_factory.mktemp("models") / "hunyuan-video-1.5")


def small(pipeline: HunyuanVideo15Pipeline) -> HunyuanVideo15Pipeline:
    """Fewer tokens of the two kinds whose number is fixed in the pipeline's code."""
    pipeline.tokenizer_2_max_length, pipeline.vision_num_semantic_tokens = 20, 5
    return pipeline


def at(folder: Path, **options: Any) -> HunyuanVideo15Model:
    model = load_model(str(folder), device="cpu", **options)
    assert isinstance(model, HunyuanVideo15Model)
    small(model.pipeline)
    return model


@pytest.fixture(scope="module")
def model(folder: Path) -> HunyuanVideo15Model:
    return at(folder)


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 5, 32, 48, 3), dtype=np.uint8)


def official(folder: Path, guidance: float = 6.0) -> HunyuanVideo15Pipeline:
    pipeline = HunyuanVideo15Pipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.tokenizer_max_length = 14
    pipeline.guider = pipeline.guider.new(guidance_scale=guidance)
    pipeline.vae.enable_slicing()  # without it, the pipeline cannot decode two clips at once
    return small(pipeline)


def theirs(pipeline: HunyuanVideo15Pipeline, output: str) -> Any:
    return pipeline(
        prompt=PROMPTS,
        negative_prompt=[NEGATIVE] * 2,
        latents=START.clone(),
        num_inference_steps=3,
        height=32,
        width=48,
        num_frames=5,
        output_type=output,
    ).frames


def ours(model: HunyuanVideo15Model, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text([NEGATIVE] * 2)
    return sample(model, START, [model.sigmas(3)] * 2, positive, negative, guidance)


def close(a: Tensor, b: Tensor, error: float = 1e-5) -> bool:
    return relative_error(a, b) <= error


def test_sampling_equals_the_pipeline_at_the_guiders_scale(model: HunyuanVideo15Model, folder: Path) -> None:
    pipeline = official(folder)
    guided = ours(model, model.defaults.guidance)
    assert model.defaults.guidance == 6.0
    assert close(guided, theirs(pipeline, "latent"))
    video = theirs(pipeline, "np") * 255
    decoded = model.decode(guided)
    assert (decoded.shape, decoded.dtype) == ((2, 5, 32, 48, 3), np.uint8)
    assert np.abs(decoded - video).max() <= 0.5 + 0.01
    assert decoded.std() > 5


def test_sampling_equals_the_pipeline_of_a_checkpoint_distilled_from_guidance(
    model: HunyuanVideo15Model, folder: Path
) -> None:
    plain = ours(model, 1.0)
    assert close(plain, theirs(official(folder, guidance=1.0), "latent"))
    assert not close(plain, ours(model, 6.0), 0.01)


def test_encoding_scales_the_posteriors_mean_and_decoding_undoes_it(
    model: HunyuanVideo15Model, clips: NDArray[np.uint8]
) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mean = model.vae.encode(pixels).latent_dist.mean
    assert (latents.shape, latents.dtype) == ((2, *SHAPE), torch.float32)
    assert close(latents / 1.03682, mean)
    assert close(model.encode(clips[1:]), latents[1:])
    assert model.decode(latents).shape == clips.shape


def test_text_is_encoded_as_the_pipeline_does_it(model: HunyuanVideo15Model, folder: Path) -> None:
    with torch.no_grad():
        text, mask, glyphs, glyph_mask = official(folder).encode_prompt([*PROMPTS, ""], batch_size=3)
    tensors = model.encode_text([*PROMPTS, ""]).tensors
    assert torch.equal(tensors["text"], text)
    assert torch.equal(tensors["mask"], mask)
    assert torch.equal(tensors["glyphs"], glyphs)
    assert torch.equal(tensors["glyph_mask"], glyph_mask)
    assert tensors["mask"].sum(1).tolist() == [8, 9, 3]  # the words, the end of the message, two of the answer's start
    assert tensors["glyph_mask"].sum(1).tolist() == [0, len('Text "square". ') + 1, 0]
    assert not tensors["glyphs"][0].any()


def test_rows_do_not_depend_on_their_neighbours(model: HunyuanVideo15Model) -> None:
    together = model.encode_text(PROMPTS)
    prediction = model.predict(START, SIGMA, together).detach()
    for i in range(2):
        alone = model.encode_text(PROMPTS[i : i + 1])
        for name, values in alone.tensors.items():
            assert torch.allclose(values, together.tensors[name][i : i + 1], atol=1e-5), name
        assert close(model.predict(START[i : i + 1], SIGMA[i : i + 1], alone).detach(), prediction[i : i + 1])
    unquoted = model.encode_text([PROMPTS[0], PROMPTS[1].replace('"', "")])
    for other in (together.take([1, 0]), unquoted):  # the words matter, and so do the quoted ones
        assert not close(model.predict(START, SIGMA, other).detach(), prediction, 0.001)


def test_the_network_is_given_no_image_and_the_time_in_its_own_precision(folder: Path) -> None:
    model = at(folder, dtype=torch.bfloat16)
    with told(model) as given:
        prediction = model.predict(START, torch.tensor([0.25, 0.999]), model.encode_text(PROMPTS))
    assert (prediction.dtype, prediction.shape) == (torch.float32, START.shape)
    assert given["timestep"].tolist() == [250.0, 1000.0]  # 999 in bfloat16, whose neighbours are 996 and 1000
    assert given["timestep"].dtype == given["hidden_states"].dtype == torch.bfloat16
    assert not given["hidden_states"][:, 4:].any()
    assert (given["hidden_states"].shape[1], not given["image_embeds"].any()) == (9, True)


def test_the_schedule_is_equal_steps_with_the_checkpoints_shift(model: HunyuanVideo15Model) -> None:
    assert model.sigmas(3).tolist() == pytest.approx([1, 10 / 11, 5 / 7, 0])


def test_training_noise_levels_are_logit_normal_and_shifted_by_three(model: HunyuanVideo15Model) -> None:
    one_deviation = 0.5 + 0.5 * math.erf(0.5**0.5)
    drawn = model.training_sigmas(torch.tensor([0.5, one_deviation]), SHAPE)
    assert drawn.tolist() == pytest.approx([0.75, 3 * 0.7310586 / (1 + 2 * 0.7310586)], rel=1e-5)


def test_size_and_guidance_come_from_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    other = variant(folder, tmp_path / "distilled", "guider/guider_config.json", guidance_scale=1.0)
    (other / "densedpo.json").unlink()
    defaults = at(other).defaults
    assert (defaults.guidance, defaults.steps, defaults.frames) == (1.0, 50, 121)
    assert (defaults.width, defaults.height) == (848, 480)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("transformer/config.json", {"use_meanflow": True}, r"is a few-step \(MeanFlow\) model"),
        ("guider/guider_config.json", {"guidance_rescale": 0.5}, r"is not plain classifier-free guidance"),
    ],
)
def test_checkpoints_that_are_sampled_otherwise_are_refused(
    folder: Path, tmp_path: Path, file: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        at(variant(folder, tmp_path / "other", file, **change))


def test_a_size_that_does_not_fit_names_the_nearest_that_do(model: HunyuanVideo15Model) -> None:
    assert model.latent_shape(5, 32, 48) == SHAPE
    with pytest.raises(UserError, match=r"8 frames do not fit this model \(1 \+ 4k\): use 5 or 9"):
        model.latent_shape(8, 32, 48)
    with pytest.raises(UserError, match=r"width 40 does not fit this model \(a multiple of 16\): use 32 or 48"):
        model.latent_shape(5, 32, 40)


def test_a_prompt_that_is_cut_warns(model: HunyuanVideo15Model) -> None:
    model.encode_text(["a red circle moves left slowly a blue square moves down"])  # 11 words and 3 more tokens
    with pytest.warns(UserWarning, match=r"the caption 'slowly a .* has 15 tokens, of which .* the first 14"):
        model.encode_text(["slowly a red circle moves left slowly a blue square moves down"])
    with pytest.warns(
        UserWarning, match=r"the caption 'Text \"red circle moves\". '.* has 26 tokens, of which .* the first 20"
    ):
        model.encode_text(['a "red circle moves" slowly'])


def test_an_adapter_samples_the_same_in_a_fresh_pipeline_and_switched_off_it_is_the_base(
    model: HunyuanVideo15Model, folder: Path, tmp_path: Path
) -> None:
    text = model.encode_text(PROMPTS)
    base, base_sample = model.predict(START, SIGMA, text).detach(), ours(model, 6.0)
    assert len(model.lora_targets) == 2 * 14
    with trained_adapter(model):
        lora.save_adapter(model.denoiser, tmp_path, {})
        tuned = ours(model, 6.0)
        with lora.adapter_off(model.denoiser):
            assert torch.equal(model.predict(START, SIGMA, text).detach(), base)
    pipeline = official(folder)
    # This pipeline has no loader of its own.
    pipeline.transformer.load_lora_adapter(tmp_path, prefix="transformer", weight_name=lora.WEIGHTS)
    assert close(tuned, theirs(pipeline, "latent"))
    assert not close(tuned, base_sample, 0.01)


def test_an_adapters_gradients_are_finite_beside_padding(model: HunyuanVideo15Model) -> None:
    """Padding attends to nothing at all here, which must not become NaN."""
    with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0) as parameters:
        model.predict(START, SIGMA, model.encode_text(["a", ""])).square().mean().backward()
        gradients = [parameter.grad for parameter in parameters]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients if gradient is not None)
