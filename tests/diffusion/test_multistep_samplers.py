"""UniPC and DPM-Solver++ for rectified flow, against `WanPipeline` with diffusers' own schedulers."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler, WanPipeline, WanVideoToVideoPipeline
from oracle_model import OracleModel, as_video_model, towards

from densedpo.diffusion.flow_multistep import FlowMultistep
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.schedule import starting_at, step_fraction
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from small_projects import model_at, pipeline_at

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of torch

KINDS = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}
PROMPTS = ["a red circle moves left", "a blue square moves down"]
SHAPE = (8, 3, 6, 6)
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model as its makers would publish it with this scheduler."""
    place = tmp_path_factory.mktemp("official") / "wan"
    parts = pipeline_at(random_wan_folder).components | {"scheduler": KINDS[name](**FLOW)}
    WanPipeline(**parts).save_pretrained(place, safe_serialization=True)
    shutil.copy(random_wan_folder / "densedpo.json", place)
    return place


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("steps", [1, 2, 7, 16])
def test_the_official_sampler_equals_the_pipeline(folder: Path, name: str, steps: int) -> None:
    model = model_at(folder)
    start = torch.stack([noise(SHAPE, "start", i) for i in range(2)])
    theirs = pipeline_at(folder)(
        prompt=PROMPTS,
        negative_prompt="a green star",
        latents=start.clone(),
        num_inference_steps=steps,
        guidance_scale=3.0,
        height=48,
        width=48,
        num_frames=9,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["a green star"] * 2)
    assert sampler_name(model, "official") == name
    sampler = sampler_of(model, "official")
    ours = sample(model, start, [sampler.sigmas(steps)] * 2, positive, negative, 3.0, sampler=sampler)
    assert relative(ours, theirs) <= 1e-5
    if steps > 2:
        euler = sample(model, start, [sampler.sigmas(steps)] * 2, positive, negative, 3.0)
        assert relative(euler, theirs) > 1e-4


def test_a_guided_member_equals_the_video_to_video_pipelines_sample(folder: Path, name: str) -> None:
    model, parts = model_at(folder), pipeline_at(folder).components
    shared = {part: parts[part] for part in ("tokenizer", "text_encoder", "transformer", "vae")}
    pipeline = WanVideoToVideoPipeline(**shared, scheduler=KINDS[name].from_config(parts["scheduler"].config))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae_scale_factor_spatial = 8  # it counts the autoencoder's halvings and does not know of its patches
    clip = np.random.default_rng(0).integers(0, 256, (9, 48, 48, 3), dtype=np.uint8)
    text, empty = model.encode_text(PROMPTS[:1]), model.encode_text([""])
    theirs = pipeline(
        video=list(clip.astype(np.float32) / 255),
        prompt_embeds=text.tensors["text"],
        negative_prompt_embeds=empty.tensors["text"],
        height=48,
        width=48,
        num_inference_steps=6,
        strength=0.7,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).frames
    sampler = sampler_of(model, name)
    sigmas = sampler.sigmas(6)
    schedule = starting_at(sigmas, sigmas[2].item(), multistep=True)
    assert torch.equal(schedule, sigmas[2:])
    eps = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(5))
    start = model.process.add_noise(model.encode(clip[None]), eps, sigmas[2:3])
    ours = sample(model, start, [schedule], text, empty, 3.0, sampler=sampler)
    assert relative(ours, theirs) <= 1e-5


def test_members_that_start_at_levels_of_their_own_come_out_as_if_sampled_alone(folder: Path, name: str) -> None:
    model = model_at(folder)
    sampler = sampler_of(model, name)
    schedules = [sampler.sigmas(4), *(starting_at(sampler.sigmas(8), eta, multistep=True) for eta in (0.7, 0.55))]
    start = torch.stack([noise(SHAPE, "start", i) for i in range(3)])
    positive, negative = model.encode_text([*PROMPTS, PROMPTS[0]]), model.encode_text([""] * 3)
    together = sample(model, start, schedules, positive, negative, 3.0, sampler=sampler)
    for i, schedule in enumerate(schedules):
        one = sample(model, start[[i]], [schedule], positive.take([i]), negative.take([i]), 3.0, sampler=sampler)
        assert relative(together[i], one[0]) <= 1e-5


@pytest.mark.parametrize("official", ["unipc", "dpm++"])
def test_a_model_that_knows_the_clip_leads_every_sample_to_its_own(official: str) -> None:
    """Levels of whole timesteps, so that what the network is told is where it is."""
    clips, eps = noise((2, 1, 2, 3, 3), "clips"), noise((2, 1, 2, 3, 3), "eps")
    schedules = [torch.tensor(s) for s in ([0.875, 0.625, 0.25, 0.125, 0.0], [0.75, 0.0])]
    model = OracleModel(clips)
    start = model.process.add_noise(clips, eps, torch.stack([schedule[0] for schedule in schedules]))
    both = towards(0, 1)
    end = sample(
        as_video_model(model), start, schedules, both, both, 1.0, sampler=FlowMultistep(official, {}, shift=1.0)
    )
    torch.testing.assert_close(end, clips, rtol=0, atol=1e-5)
    assert model.calls == [[0.875], [0.625], [0.25], [0.125, 0.75]]


def test_the_network_is_told_whole_timesteps() -> None:
    solver = FlowMultistep("unipc", {}, shift=1.0).begin([torch.tensor([0.8, 0.0])], [()])
    assert (1000 * solver.told([0], torch.tensor([0.9999, 0.7006, 0.25]))).tolist() == [999.0, 700.0, 250.0]


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        (0.92, [0.92, 0.75, 0.5, 0.0]),  # 0.02 to the level below, 0.15 beyond it
        (0.98, [0.98, 0.9, 0.75, 0.5, 0.0]),  # 0.08, more than half of 0.15
        (0.9, [0.9, 0.75, 0.5, 0.0]),
        (0.55, [0.55, 0.0]),
        (0.1, [0.1, 0.0]),
    ],
)
def test_a_multistep_solver_does_not_begin_with_a_tiny_step(eta: float, expected: list[float]) -> None:
    sigmas = torch.tensor([1.0, 0.9, 0.75, 0.5, 0.0])
    assert torch.equal(starting_at(sigmas, eta, multistep=True), torch.tensor(expected))
    assert step_fraction(sigmas, eta, multistep=True) == (len(expected) - 1) / 4


def test_a_sampler_that_a_model_does_not_have_is_refused(random_wan_folder: Path) -> None:
    model: Any = model_at(random_wan_folder)
    assert sampler_name(model, "official") == "euler"
    with pytest.raises(UserError, match=r"is not sampled with sde-dpm\+\+: choose euler or unipc or dpm\+\+"):
        sampler_of(model, "sde-dpm++")
