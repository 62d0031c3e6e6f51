"""Wan models that animate a given first frame, against diffusers' image-to-video pipeline on the same folder."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline
from family_checks import relative_error, trained_adapter
from model_folders import variant
from PIL import Image
from tiny_wan22 import random_ti2v
from tiny_wan_image import BUILDS, SHIFT, random_wan_image
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, given_frames
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_of
from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.wan_image import WanFirstFrameModel, WanImageModel

PROMPTS = ["a red circle moves left", "a blue square moves down"]


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(build: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_wan_image(tmp_path_factory.mktemp("models") / "wan", build)


@pytest.fixture(scope="module")
def model(folder: Path) -> WanImageModel:
    return loaded(folder)


@functools.cache
def loaded(folder: Path) -> WanImageModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, WanImageModel)
    return model


def images(model: WanImageModel) -> Any:
    size = model.defaults
    return np.random.default_rng(1).integers(0, 256, (2, size.height, size.width, 3), dtype=np.uint8)


def starts(model: WanImageModel) -> Tensor:
    size = model.defaults
    return torch.stack([noise(model.latent_shape(9, size.height, size.width), "start", i) for i in range(2)])


def told(model: WanImageModel, prompts: list[str]) -> Conditioning:
    first = model.encode_first_frame(images(model), 9)
    return Conditioning(model.encode_text(prompts).tensors | first.tensors)


def ours(model: WanImageModel, sampler: str, rows: list[int], guidance: float = 3.0) -> Tensor:
    positive, negative = told(model, PROMPTS).take(rows), told(model, ["", ""]).take(rows)
    way = sampler_of(model, sampler)
    schedules = [way.sigmas(5)] * len(rows)
    return sample(model, starts(model)[rows], schedules, positive, negative, guidance, sampler=way)


def theirs(
    model: WanImageModel,
    folder: Path,
    euler: bool,
    adapter: Path | None = None,
    guidance: float = 3.0,
    shift: float = SHIFT,
) -> Tensor:
    pipeline = WanImageToVideoPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if euler:
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    if adapter is not None:
        pipeline.load_lora_weights(adapter, load_into_transformer_2=model.boundary is not None)
    made = [
        pipeline(
            image=Image.fromarray(image),
            prompt=prompt,
            negative_prompt="",
            latents=start[None].clone(),
            num_inference_steps=5,
            guidance_scale=guidance,
            height=model.defaults.height,
            width=model.defaults.width,
            num_frames=9,
            max_sequence_length=model.max_sequence_length,
            output_type="latent",
        ).frames
        for image, prompt, start in zip(images(model), PROMPTS, starts(model), strict=True)
    ]
    return torch.cat(made)


@pytest.mark.parametrize(("sampler", "guidance"), [("official", 3.0), ("euler", 3.0), ("euler", 1.0)])
def test_samples_equal_those_of_the_diffusers_pipeline(
    model: WanImageModel, folder: Path, sampler: str, guidance: float
) -> None:
    assert model.official_sampler == "unipc"
    expected = theirs(model, folder, sampler == "euler", guidance=guidance)
    assert relative_error(ours(model, sampler, [0, 1], guidance), expected) <= 1e-5


def test_each_row_has_its_own_first_frame(model: WanImageModel) -> None:
    together = ours(model, "euler", [0, 1])
    assert relative_error(ours(model, "euler", [1])[0], together[1]) <= 1e-5
    positive, swapped = told(model, PROMPTS), told(model, PROMPTS)
    first = model.encode_first_frame(images(model)[::-1], 9)
    swapped = Conditioning(swapped.tensors | first.tensors)
    sigma = torch.tensor([0.5, 0.7])
    difference = model.predict(starts(model), sigma, positive) - model.predict(starts(model), sigma, swapped)
    assert difference[:, :, 1:].abs().max() > 1e-3


def test_only_one_latent_frame_is_given(model: WanImageModel) -> None:
    assert (given_frames(model), model.padding_frames) == (1, 0)


def test_prompts_alone_do_not_do(model: WanImageModel) -> None:
    with pytest.raises(UserError, match="animates a given first frame, and prompts alone have none: use clips"):
        model.predict(starts(model), torch.tensor([0.5, 0.5]), model.encode_text(PROMPTS))


def test_an_adapter_samples_the_same_in_a_fresh_pipeline(model: WanImageModel, folder: Path, tmp_path: Path) -> None:
    with trained_adapter(model):
        tuned = ours(model, "euler", [0, 1])
        lora.save_adapter(model.denoiser, tmp_path, {})
    assert relative_error(tuned, theirs(model, folder, True, tmp_path)) <= 1e-5
    assert relative_error(tuned, ours(model, "euler", [0, 1])) > 0.01


def test_ti2v_keeps_the_first_frame_through_every_sampler(tmp_path: Path) -> None:
    """At its noise level 0 the network sees the image itself; a clip's own first latent frame is the same."""
    model = loaded(random_wan_image(tmp_path / "wan", "ti2v"))
    clip = np.repeat(images(model)[:, None], 9, axis=1)
    first = model.encode(clip)[:, :, :1]
    given = told(model, PROMPTS)
    torch.testing.assert_close(given.tensors["image"], first, rtol=0, atol=1e-5)
    for name in ("euler", "unipc"):
        way = sampler_of(model, name)
        schedule = starting_at(way.sigmas(6), 0.7, way.multistep)
        start = model.process.add_noise(model.encode(clip), starts(model), schedule[:1].expand(2))
        end = sample(model, start, [schedule] * 2, given, told(model, ["", ""]), 3.0, sampler=way)
        torch.testing.assert_close(end[:, :, :1], first, rtol=0, atol=1e-5)


def test_ti2v_as_published_animates_an_image_when_its_index_says_so(tmp_path: Path) -> None:
    """It is published as a `WanPipeline`; diffusers reads the same folder as either."""
    folder = random_ti2v(tmp_path / "ti2v")
    model = loaded(variant(folder, tmp_path / "images", "model_index.json", _class_name="WanImageToVideoPipeline"))
    assert isinstance(model, WanFirstFrameModel)
    expected = theirs(model, folder, euler=True, shift=5.0)
    assert relative_error(ours(model, "euler", [0, 1]), expected) <= 1e-5


def test_the_makers_defaults(model: WanImageModel, folder: Path, build: str, tmp_path: Path) -> None:
    whole = variant(folder, tmp_path / "official", "model_index.json")
    (whole / "densedpo.json").unlink()
    defaults = loaded(whole).defaults
    expected = {"2.1": (40, 5.0, None, 832), "a14b": (40, 3.5, 3.5, 1280), "ti2v": (50, 5.0, None, 1280)}
    assert (defaults.steps, defaults.guidance, defaults.guidance_2, defaults.width) == expected[build]


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    folder = random_wan_image(tmp_path / "wan", "2.1")
    both_ends = variant(folder, tmp_path / "both", "transformer/config.json", pos_embed_seq_len=10)
    with pytest.raises(UserError, match="draws between a first and a last frame"):
        load_model(str(both_ends), device="cpu")
    (folder / "densedpo.json").write_text(json.dumps({"max_sequence_length": 24}))
    with pytest.raises(UserError, match=r"reads captions of 512 tokens: leave max_sequence_length out"):
        load_model(str(folder), device="cpu")
