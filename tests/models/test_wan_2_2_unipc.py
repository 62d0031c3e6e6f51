"""Wan 2.2 as published, with UniPC: both experts, and a timestep for every token, against diffusers' pipeline."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanPipeline
from family_checks import relative_error
from tiny_wan22 import BOUNDARY, random_a14b, random_ti2v

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.models.wan import WanModel
from small_projects import model_at, pipeline_at

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of torch

PROMPTS, STEPS = ["a red circle moves left", "a blue square moves down"], 8
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}


def published(make: Callable[[Path], Path], folder: Path) -> Path:
    """What `make` writes, with the scheduler of the makers' checkpoints."""
    make(folder)
    UniPCMultistepScheduler(**FLOW).save_pretrained(folder / "scheduler")
    pipeline = WanPipeline.from_pretrained(folder, local_files_only=True, scheduler=UniPCMultistepScheduler(**FLOW))
    pipeline.save_config(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "size", "scales"), [(random_a14b, (9, 48, 48), (4.0, 3.0)), (random_ti2v, (9, 64, 96), (4.0, None))]
)
def test_the_official_sampler_equals_the_pipeline(
    make: Callable[[Path], Path], size: tuple[int, int, int], scales: tuple[float, float | None], tmp_path: Path
) -> None:
    model: WanModel = model_at(published(make, tmp_path / "wan"))
    start = torch.stack([noise(model.latent_shape(*size), "start", i) for i in range(2)])
    assert sampler_name(model, "official") == "unipc"
    way = sampler_of(model, "official")
    sigmas = way.sigmas(STEPS)
    assert sigmas[2] > BOUNDARY > sigmas[3]  # each expert has a step that looks back at one of its own
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["a green star"] * 2)
    drawn = sample(model, start, [sigmas] * 2, positive, negative, *scales, sampler=way)
    theirs = pipeline_at(model.folder)(
        prompt=PROMPTS,
        negative_prompt="a green star",
        latents=start.clone(),
        num_inference_steps=STEPS,
        guidance_scale=scales[0],
        guidance_scale_2=scales[1],
        num_frames=size[0],
        height=size[1],
        width=size[2],
        max_sequence_length=24,
        output_type="latent",
    ).frames
    assert relative_error(drawn, theirs) <= 1e-5
