"""SkyReels V2, against diffusers' pipeline on the same folder."""

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SkyReelsV2Pipeline
from family_checks import relative_error, trained_adapter
from model_folders import variant
from tiny_skyreels_v2 import SHIFT, random_skyreels_v2
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.models import lora
from densedpo.models.skyreels_v2 import SkyReelsV2Model
from small_projects import model_at

PROMPTS = ["a red circle moves left", "a blue square moves down"]
START = torch.stack([noise((8, 3, 6, 6), "start", i) for i in range(2)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_skyreels_v2(tmp_path_factory.mktemp("models") / "skyreels")


def ours(folder: Path, sampler: str) -> Tensor:
    model = model_at(folder)
    assert isinstance(model, SkyReelsV2Model)
    way = sampler_of(model, sampler)
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["a green star"] * 2)
    return sample(model, START, [way.sigmas(5)] * 2, positive, negative, 3.0, sampler=way)


def theirs(folder: Path, euler: bool, adapter: Path | None = None) -> Tensor:
    pipeline = SkyReelsV2Pipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae_scale_factor_spatial = 8  # it counts the autoencoder's halvings and does not know of its patches
    if euler:
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    if adapter is not None:
        pipeline.load_lora_weights(adapter)
    made = pipeline(
        prompt=PROMPTS,
        negative_prompt="a green star",
        latents=START.clone(),
        num_inference_steps=5,
        guidance_scale=3.0,
        height=48,
        width=48,
        num_frames=9,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    assert isinstance(made, Tensor)
    return made


@pytest.mark.parametrize("sampler", ["official", "euler"])
def test_samples_equal_those_of_the_diffusers_pipeline(folder: Path, sampler: str) -> None:
    assert sampler_name(model_at(folder), "official") == "unipc"
    assert relative_error(ours(folder, sampler), theirs(folder, sampler == "euler")) <= 1e-5


def test_an_adapter_samples_the_same_in_a_fresh_pipeline(folder: Path, tmp_path: Path) -> None:
    model = model_at(folder)
    with trained_adapter(model):
        tuned = ours(folder, "euler")
        lora.save_adapter(model.denoiser, tmp_path, {})
    assert relative_error(tuned, theirs(folder, True, tmp_path)) <= 1e-5
    assert relative_error(tuned, ours(folder, "euler")) > 0.01


def test_the_makers_defaults(folder: Path, tmp_path: Path) -> None:
    whole = variant(folder, tmp_path / "official", "model_index.json")
    (whole / "densedpo.json").unlink()
    defaults = model_at(whole).defaults
    assert (defaults.steps, defaults.guidance, defaults.width, defaults.height) == (50, 6.0, 960, 544)
    assert (defaults.frames, defaults.fps) == (97, 24.0)
