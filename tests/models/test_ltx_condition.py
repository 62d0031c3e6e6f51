"""LTX-Video since 0.9.5: our parts against diffusers' `LTXConditionPipeline`, given no image, on the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LTXConditionPipeline
from family_checks import relative_error, told, trained_adapter
from model_folders import variant
from tiny_ltx import random_ltx, random_ltx_condition
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import generator, noise, seed_of
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.ltx import DECODE_NOISE, LTXModel
from densedpo.models.ltx_condition import LTXConditionModel

# diffusers makes a numpy array of a tensor, in its own way
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = ["a red circle moves left", "a blue square moves down slowly"]
NEGATIVE = "worst quality"
SHAPE = (8, 2, 2, 3)
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_ltx_condition(tmp_path_factory.mktemp("models") / "ltx")


@pytest.fixture(scope="module")
def model(folder: Path) -> LTXConditionModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, LTXConditionModel)
    return model


def official(folder: Path, adapter: Path | None = None) -> LTXConditionPipeline:
    pipeline = LTXConditionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_lora_weights(adapter)
    return pipeline


# The pipeline takes no latents but those it adds noise to, so it draws the start itself.
def start() -> Tensor:
    return torch.randn((2, *SHAPE), generator=generator("start"))


def ours(model: LTXConditionModel, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text([NEGATIVE] * 2)
    return sample(model, start(), [model.sigmas(STEPS)] * 2, positive, negative, guidance)


def theirs(pipeline: LTXConditionPipeline, guidance: float, **changes: object) -> Tensor:
    values = {
        "prompt": PROMPTS,
        "negative_prompt": [NEGATIVE] * 2,
        "generator": generator("start"),
        "num_inference_steps": STEPS,
        "guidance_scale": guidance,
        "width": 96,
        "height": 64,
        "num_frames": 9,
        "frame_rate": 12,
        "max_sequence_length": 12,
        "output_type": "latent",
    }
    made = pipeline(**values | changes).frames
    assert isinstance(made, Tensor)
    return made


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_text_to_video_equals_the_pipeline(model: LTXConditionModel, folder: Path, guidance: float) -> None:
    pipeline = official(folder)
    expected = theirs(pipeline, guidance)
    torch.testing.assert_close(model.sigmas(STEPS), pipeline.scheduler.sigmas, rtol=0, atol=1e-7)
    assert relative_error(ours(model, guidance), expected) <= 1e-5
    assert relative_error(theirs(pipeline, guidance, frame_rate=24), expected) > 1e-3  # or it would say nothing of it


def test_positions_say_that_the_first_latent_frame_is_one_frame(model: LTXConditionModel) -> None:
    with told(model) as given:
        model.predict(noise((2, 8, 3, 2, 3), "x"), torch.tensor([0.25, 1.0]), model.encode_text(PROMPTS))
    seconds, down, across = given["video_coords"][1]
    assert seconds.view(3, 6)[:, 0].tolist() == pytest.approx([0.0, 1 / 12, 9 / 12])
    assert (down[:6].tolist(), across[:6].tolist()) == ([0, 0, 0, 32, 32, 32], [0, 32, 64, 0, 32, 64])
    assert given["timestep"].tolist() == [250.0, 1000.0]


def test_eight_steps_are_the_makers_levels_for_distilled_checkpoints(model: LTXConditionModel) -> None:
    """`first_pass` and, for the last one, `second_pass` of configs/ltxv-13b-0.9.7-distilled.yaml in LTX-Video."""
    published = [1.0, 0.9937, 0.9875, 0.9812, 0.9750, 0.9094, 0.7250, 0.4219, 0.0]
    torch.testing.assert_close(model.sigmas(8), torch.tensor(published), rtol=0, atol=1e-4)
    assert torch.equal(model.sigmas(8), model.sigmas(8, (8, 21, 16, 24)))


def test_decoding_gives_the_pixels_of_the_pipeline(model: LTXConditionModel, folder: Path) -> None:
    """The decoder does the last denoising step: it is told a time, and given a little noise."""
    latents = ours(model, 3.0)[:1]
    pipeline, vae = official(folder), model.pipeline.vae
    assert vae.config.timestep_conditioning
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*DECODE_NOISE))
        plain = pipeline._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        grain = torch.randn(plain.shape, generator=generator(*DECODE_NOISE))
        pixels = pipeline.vae.decode(0.7 * plain + 0.3 * grain, torch.tensor([0.1]), return_dict=False)[0]
    expected = pipeline.video_processor.postprocess_video(pixels, output_type="np")
    assert np.abs(model.decode(latents) - expected * 255).max() <= 0.5 + 0.01


def test_encoding_round_trips_and_batches(model: LTXConditionModel) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, 9, 64, 96, 3), dtype=np.uint8)
    latents = model.encode(clips)
    assert latents.shape == (2, *SHAPE)
    assert relative_error(latents[1:], model.encode(clips[1:])) <= 1e-5
    assert model.decode(latents).shape == clips.shape


def test_a_saved_adapter_samples_the_same_in_a_fresh_pipeline(
    model: LTXConditionModel, folder: Path, tmp_path: Path
) -> None:
    base = ours(model, 3.0)
    with trained_adapter(model):
        tuned = ours(model, 3.0)
        lora.save_adapter(model.denoiser, tmp_path, {})
        with lora.adapter_off(model.denoiser):
            assert torch.equal(ours(model, 3.0), base)
    assert relative_error(tuned, theirs(official(folder, tmp_path), 3.0)) <= 1e-5
    assert relative_error(tuned, base) > 0.01


def test_what_is_sampled_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    config = "scheduler/scheduler_config.json"
    noisy = variant(folder, tmp_path / "noisy", config, stochastic_sampling=True)
    with pytest.raises(UserError, match=r"fresh noise at every step \(stochastic_sampling\).* set it to false in .*"):
        load_model(str(noisy), device="cpu")
    older = variant(random_ltx(tmp_path / "plain"), tmp_path / "older", config, stochastic_sampling=True)
    with pytest.raises(UserError, match=r"fresh noise at every step"):
        load_model(str(older), device="cpu")
    shifting = variant(folder, tmp_path / "shifting", config, use_dynamic_shifting=True)
    with pytest.raises(UserError, match=r"shifts its sigmas.* write LTXPipeline as _class_name"):
        load_model(str(shifting), device="cpu")


def test_the_same_weights_as_another_pipeline_are_another_model(
    model: LTXConditionModel, folder: Path, tmp_path: Path
) -> None:
    plain = load_model(
        str(variant(folder, tmp_path / "plain", "model_index.json", _class_name="LTXPipeline")), device="cpu"
    )
    assert type(plain) is LTXModel
    assert plain.model_hash != model.model_hash
    assert plain.vae_hash == model.vae_hash


def test_the_makers_defaults(folder: Path, tmp_path: Path) -> None:
    whole = variant(folder, tmp_path / "official", "model_index.json")
    (whole / "densedpo.json").unlink()
    model = load_model(str(whole), device="cpu")
    size = model.defaults
    assert (size.steps, size.guidance, size.fps) == (30, 5.0, 25.0)
    assert model.latent_shape(size.frames, size.height, size.width) == (8, 21, 16, 24)
    assert (model.decode_timestep, model.max_sequence_length) == (0.05, 256)  # type: ignore[attr-defined]
