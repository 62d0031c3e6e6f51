"""CogVideoX models that animate a given first frame, against diffusers' image-to-video pipeline on the same folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline
from diffusers.pipelines.cogvideo import pipeline_cogvideox_image2video as official
from diffusers.schedulers import scheduling_dpm_cogvideox
from family_checks import relative_error, trained_adapter
from model_folders import variant
from PIL import Image
from tiny_cogvideox import CHANNELS, PROMPTS
from tiny_cogvideox_image import KINDS, random_cogvideox_image
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.cogvideox_image import CogVideoXImageModel


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cogvideox_image(tmp_path_factory.mktemp("models") / "cogvideox", request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVideoXImageModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, CogVideoXImageModel)
    return model


IMAGES = np.random.default_rng(1).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)


def told(model: CogVideoXImageModel, prompts: list[str]) -> Conditioning:
    return Conditioning(model.encode_text(prompts).tensors | model.encode_first_frame(IMAGES, 9).tensors)


def starts(model: CogVideoXImageModel) -> Tensor:
    return torch.stack([noise(model.latent_shape(9, 32, 48), "start", i) for i in range(2)])


@pytest.fixture
def pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> CogVideoXImageToVideoPipeline:
    return diffusers_pipeline(folder, monkeypatch)


def diffusers_pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> CogVideoXImageToVideoPipeline:
    """diffusers' own, that draws from the image's posterior; here it takes the mean, as ours does."""
    means = official.retrieve_latents
    monkeypatch.setattr(official, "retrieve_latents", lambda encoded, _: means(encoded, sample_mode="argmax"))
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: CogVideoXImageToVideoPipeline, starts: Tensor, guidance: float) -> Tensor:
    made = [
        pipeline(
            image=Image.fromarray(image),
            prompt=prompt,
            latents=start[None].transpose(1, 2),
            num_inference_steps=5,
            guidance_scale=guidance,
            height=32,
            width=48,
            num_frames=9,
            max_sequence_length=16,
            output_type="latent",
        ).frames.transpose(1, 2)
        for image, prompt, start in zip(IMAGES, PROMPTS, starts, strict=True)
    ]
    return torch.cat(made)


def ours(model: CogVideoXImageModel, guidance: float) -> Tensor:
    return sample(model, starts(model), [model.sigmas(5)] * 2, told(model, PROMPTS), told(model, ["", ""]), guidance)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_samples_equal_those_of_the_diffusers_pipeline(
    model: CogVideoXImageModel, pipeline: CogVideoXImageToVideoPipeline, guidance: float
) -> None:
    assert relative_error(ours(model, guidance), theirs(pipeline, starts(model), guidance)) <= 1e-5
    assert model.denoiser.config["in_channels"] == 2 * CHANNELS


def test_the_makers_stochastic_sampler_equals_the_pipelines(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That scheduler draws its noise once or twice a step and uses the last; here each draw is ours of that step."""
    fresh = variant(folder, tmp_path / "dpm", "model_index.json", scheduler=["diffusers", "CogVideoXDPMScheduler"])
    model, pipeline = load_model(str(fresh), device="cpu"), diffusers_pipeline(fresh, monkeypatch)
    assert isinstance(model, CogVideoXImageModel)
    assert isinstance(pipeline.scheduler, CogVideoXDPMScheduler)
    assert sampler_name(model, "official") == "sde-dpm++"
    done, real = -1, pipeline.scheduler.step

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        return real(*given, **named)

    def ours_of_that_step(shape: torch.Size, **_: Any) -> Tensor:
        row, step = divmod(done, 5)  # the pipeline draws one video after the other
        return noise((shape[2], shape[1], *shape[3:]), 7 + row, "step", step)[None].transpose(1, 2)

    monkeypatch.setattr(pipeline.scheduler, "step", counted)
    monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", ours_of_that_step)
    sampler = sampler_of(model, "official")
    positive, negative = told(model, PROMPTS), told(model, ["", ""])
    how: dict[str, Any] = {"sampler": sampler, "keys": [(7,), (8,)]}
    drawn = sample(model, starts(model), [sampler.sigmas(5)] * 2, positive, negative, 3.0, **how)
    assert relative_error(drawn, theirs(pipeline, starts(model), 3.0)) <= 1e-5
    assert relative_error(drawn, ours(model, 3.0)) > 0.01


def test_an_adapter_samples_the_same_in_a_fresh_pipeline(
    model: CogVideoXImageModel, pipeline: CogVideoXImageToVideoPipeline, tmp_path: Path
) -> None:
    with trained_adapter(model):
        tuned = ours(model, 3.0)
        lora.save_adapter(model.denoiser, tmp_path, {})
    pipeline.load_lora_weights(tmp_path)
    expected = theirs(pipeline, starts(model), 3.0)
    assert relative_error(tuned, expected) <= 1e-5
    assert relative_error(ours(model, 3.0), expected) > 0.01


def test_the_image_is_at_the_first_latent_frame_alone(model: CogVideoXImageModel) -> None:
    image = model.encode_first_frame(IMAGES, 9).tensors["image"]
    assert tuple(image.shape[1:]) == model.latent_shape(9, 32, 48)
    assert image[:, :, 0].abs().min() > 0
    assert not image[:, :, 1:].any()


def test_prompts_alone_do_not_do(model: CogVideoXImageModel) -> None:
    with pytest.raises(UserError, match="animates a given first frame, and prompts alone have none"):
        model.predict(starts(model), torch.tensor([0.5, 0.5]), model.encode_text(PROMPTS))


def test_learned_positions_fit_one_size(tmp_path: Path) -> None:
    model = load_model(str(random_cogvideox_image(tmp_path / "5b", "5b")), device="cpu")
    with pytest.raises(UserError, match="32 x 48 does not fit this model: use 48 x 32"):
        model.latent_shape(9, 48, 32)
