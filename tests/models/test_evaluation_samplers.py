"""An evaluation draws with the sampler that the checkpoint names, as its makers mean it to be drawn with."""

import dataclasses
import functools
import json
from pathlib import Path

import pytest
import torch
from family_checks import relative_error
from model_folders import variant
from tiny_cogvideox import random_cogvideox
from tiny_wan22 import random_a14b

from densedpo.config import dump_settings, load_settings
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.making import Makers, find_makers
from densedpo.evaluation.sampling import Shot
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project, ProjectSettings
from small_projects import pipeline_at

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of torch

PROMPT = "a red circle moves left"
UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "flow_shift": 3.0,
}
SHOTS = [Shot(PROMPT, 0, 0), Shot(PROMPT, 0, 1)]


@pytest.fixture
def unipc(random_wan_folder: Path, tmp_path: Path) -> Path:
    """The random Wan model as Wan is published."""
    folder = variant(
        random_wan_folder, tmp_path / "wan", "model_index.json", scheduler=["diffusers", "UniPCMultistepScheduler"]
    )
    (folder / "scheduler").unlink()
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(UNIPC))
    return folder


def makers(root: Path, folder: Path, **asked: object) -> tuple[Makers, EvaluateSettings]:
    shape = json.loads((folder / "densedpo.json").read_text())
    size = {key: shape[key] for key in ("width", "height", "fps")}
    project = Project.create(root, ProjectSettings(model=str(folder), frames=9, **size))
    return find_makers(project, EvaluateSettings(runs=(), steps=5, **asked))  # type: ignore[arg-type]


def test_by_default_it_is_the_official_one(unipc: Path, tmp_path: Path) -> None:
    found, settings = makers(tmp_path / "project", unipc)
    assert settings.sampler == "unipc"  # what is recorded
    expected = pipeline_at(unipc)(
        prompt=[PROMPT] * 2,
        negative_prompt="",
        latents=torch.stack([noise((8, 3, 6, 6), 0, "evaluation", PROMPT, seed) for seed in (0, 1)]),
        num_inference_steps=5,
        guidance_scale=3.0,
        height=48,
        width=48,
        num_frames=9,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    assert relative_error(found.studio.latents(SHOTS), expected) <= 1e-5
    euler, settings = makers(tmp_path / "euler", unipc, sampler="euler")
    assert settings.sampler == "euler"
    assert relative_error(euler.studio.latents(SHOTS), expected) > 1e-3


def test_a_sampler_that_draws_noise_gives_a_shot_the_same_video_in_any_batch(tmp_path: Path) -> None:
    folder = functools.partial(random_cogvideox, kind="5b")(tmp_path / "cog")
    found, _ = makers(tmp_path / "project", folder, sampler="sde-dpm++")
    both = found.studio.latents(SHOTS)
    assert relative_error(found.studio.latents(SHOTS[1:]), both[1:]) <= 1e-5
    assert (both[0] - both[1]).abs().max() > 0.1


def test_the_model_is_loaded_as_asked(tmp_path: Path) -> None:
    """Such as in another precision, in tiles, quantised, or with the other expert, whose adapters fit no other."""
    loading = LoadSettings(expert="high", dtype="bfloat16", tiled_vae=True)
    folder = random_a14b(tmp_path / "wan")
    shape = json.loads((folder / "densedpo.json").read_text())
    size = {key: shape[key] for key in ("width", "height", "fps")}
    project = Project.create(tmp_path / "project", ProjectSettings(model=str(folder), frames=9, **size))
    found, _ = find_makers(project, EvaluateSettings(runs=()), loading=loading)
    model = found.studio.model
    assert (model.denoiser.expert, model.dtype, model.vae.use_tiling) == ("high", torch.bfloat16, True)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "scales"),
    [({}, (4.0, 3.0)), ({"guidance": 5.0}, (5.0, None)), ({"guidance_2": 2.0}, (4.0, 2.0)),
     ({"guidance": 5.0, "guidance_2": 0.0}, (5.0, 0.0))],
)  # fmt: skip
def test_what_is_recorded_of_two_experts_draws_the_same_again(
    asked: dict[str, float], scales: tuple[float, float | None], tmp_path: Path
) -> None:
    """`evaluate --config runs/NAME/settings.yaml`, and a clip of it made again."""
    two_scales = {"guidance": 4.0, "guidance_2": 3.0}
    folder = variant(random_a14b(tmp_path / "wan"), tmp_path / "two-scales", "densedpo.json", **two_scales)
    found, settings = makers(tmp_path / "project", folder, sampler="euler", **asked)
    assert (found.studio.guidance, found.studio.guidance_2) == scales
    (tmp_path / "settings.yaml").write_text(dump_settings(settings))
    again = load_settings(EvaluateSettings, tmp_path / "settings.yaml", {})
    second, repeated = find_makers(Project.open(tmp_path / "project"), again)
    assert repeated == settings
    assert (second.studio.guidance, second.studio.guidance_2) == scales
    without = dataclasses.replace(found.studio, guidance_2=None)
    drawn, expected = second.studio.latents(SHOTS), found.studio.latents(SHOTS)
    assert torch.equal(drawn, expected)
    assert torch.equal(drawn, without.latents(SHOTS)) is (scales[1] is None)  # the second scale is in use


def test_a_second_scale_wants_a_second_expert(unipc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--guidance-2 is for models with two experts; leave it out for wan"):
        makers(tmp_path / "project", unipc, guidance_2=3.0)


def test_a_sampler_that_the_model_does_not_have(unipc: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not sampled with sde-dpm\+\+: choose euler or unipc or dpm\+\+"):
        makers(tmp_path / "project", unipc, sampler="sde-dpm++")
