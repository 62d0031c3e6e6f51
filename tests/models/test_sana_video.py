"""SANA-Video, against diffusers' pipeline on the same folders of random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SanaVideoPipeline, SanaVideoTransformer3DModel
from family_checks import relative_error, trained_adapter
from model_folders import variant
from numpy.typing import NDArray
from tiny_sana_video import NEGATIVE, SHIFT, random_sana_video, random_sana_video_ltx2
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.sana_video import INSTRUCTION, OFFICIAL_DEFAULTS, SanaVideoLTX2Model, SanaVideoModel
from densedpo.plan.checkpoint import published

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of torch

BUILDS = {"480p": random_sana_video, "720p": random_sana_video_ltx2}
KINDS = {"480p": SanaVideoModel, "720p": SanaVideoLTX2Model}
SHAPES = {"480p": (8, 3, 8, 8), "720p": (8, 2, 2, 2)}
PROMPTS = ["a red circle moves left", "A blue square moves down slowly "]
SIGMA = torch.tensor([0.4, 0.9])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {build: make(root / build) for build, make in BUILDS.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, SanaVideoModel]:
    return {build: at(folder) for build, folder in folders.items()}


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 64, 64, 3), dtype=np.uint8)


def at(folder: Path) -> SanaVideoModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, SanaVideoModel)
    return model


def start(build: str) -> Tensor:
    return torch.stack([noise(SHAPES[build], "start", i) for i in range(2)])


def ours(model: SanaVideoModel, build: str, sampler: str) -> Tensor:
    way = sampler_of(model, sampler)
    positive, negative = model.encode_text(PROMPTS), model.encode_negative_text([NEGATIVE] * 2)
    return sample(model, start(build), [way.sigmas(5)] * 2, positive, negative, 3.0, sampler=way)


def official(folder: Path) -> SanaVideoPipeline:
    pipeline = SanaVideoPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: SanaVideoPipeline, build: str, output: str = "latent") -> Any:
    return pipeline(
        prompt=PROMPTS,
        negative_prompt=NEGATIVE,
        latents=start(build),
        num_inference_steps=5,
        guidance_scale=3.0,
        height=64,
        width=64,
        frames=9,
        max_sequence_length=10,
        use_resolution_binning=False,  # it would draw another size
        output_type=output,
    ).frames


@pytest.mark.parametrize(("build", "sampler"), [("480p", "official"), ("480p", "euler"), ("720p", "official")])
def test_samples_equal_those_of_the_diffusers_pipeline(
    models: dict[str, SanaVideoModel], folders: dict[str, Path], build: str, sampler: str
) -> None:
    model, pipeline = models[build], official(folders[build])
    assert type(model) is KINDS[build]
    assert sampler_name(model, "official") == "dpm++"
    if sampler == "euler":
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    made = ours(model, build, sampler)
    assert relative_error(made, theirs(pipeline, build)) <= 1e-5
    if sampler == "official":
        decoded = model.decode(made)
        assert (decoded.shape, decoded.dtype) == ((2, 9, 64, 64, 3), np.uint8)
        assert np.abs(decoded - 255 * theirs(pipeline, build, "np")).max() <= 0.5 + 0.01
        assert decoded.std() > 2


def test_both_encodings_of_a_text_are_those_of_the_pipeline(
    models: dict[str, SanaVideoModel], folders: dict[str, Path]
) -> None:
    model = models["480p"]
    with torch.no_grad():
        text, mask, negative, negative_mask = official(folders["480p"]).encode_prompt(
            PROMPTS, negative_prompt=PROMPTS, max_sequence_length=10, complex_human_instruction=INSTRUCTION
        )
    for told, (states, seen) in (
        (model.encode_text(PROMPTS), (text, mask)),
        (model.encode_negative_text(PROMPTS), (negative, negative_mask)),
    ):
        assert torch.equal(told.tensors["text"], states)
        assert torch.equal(told.tensors["mask"], seen)
    assert text.shape == negative.shape == (2, 10, 32)
    assert relative_error(text, negative) > 0.1
    assert INSTRUCTION[-1] == "User Prompt: "


def test_a_prompt_that_is_cut_warns(models: dict[str, SanaVideoModel], recwarn: pytest.WarningsRecorder) -> None:
    """Of 10 states a prompt has 8, behind the first token and the instruction's last; a negative prompt has 9."""
    model, words = models["480p"], ["a", "red", "circle", "moves", "left", "a", "blue", "square", "moves", "down"]
    model.encode_text([" ".join(words[:8])])
    model.encode_negative_text([" ".join(words[:9])])
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"the caption 'a red .* has 11 tokens, of which .* the first 10"):
        longer = model.encode_text([" ".join(words[:9])])
    assert torch.equal(longer.tensors["text"], model.encode_text([" ".join(words[:8])]).tensors["text"])
    with pytest.warns(UserWarning, match=r"the caption 'a red .* has 11 tokens, of which .* the first 10"):
        model.encode_negative_text([" ".join(words)])


@pytest.mark.parametrize("build", BUILDS)
def test_encoding_normalises_the_posteriors_mean_channel_by_channel_and_decoding_undoes_it(
    models: dict[str, SanaVideoModel], clips: NDArray[np.uint8], build: str
) -> None:
    model = models[build]
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        posterior_mean = model.vae.encode(pixels).latent_dist.mean
    mean, std = torch.tensor([0.1 * i - 0.3 for i in range(8)]), torch.tensor([0.5 + 0.2 * i for i in range(8)])
    if build == "720p":
        mean, std = torch.linspace(-1, 1, 8), torch.linspace(0.5, 2, 8)
    raw = latents * std.view(1, 8, 1, 1, 1) + mean.view(1, 8, 1, 1, 1)
    assert (latents.shape, latents.dtype) == ((2, *SHAPES[build]), torch.float32)
    assert relative_error(raw, posterior_mean) <= 1e-5
    assert relative_error(model.encode(clips[1:]), latents[1:]) <= 1e-5
    with torch.no_grad():
        shown = ((model.vae.decode(posterior_mean).sample.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 4, 1)
    assert np.abs(model.decode(latents) - shown.numpy()).max() <= 0.5 + 0.01


@pytest.mark.parametrize("build", BUILDS)
def test_an_adapter_samples_the_same_in_a_fresh_pipeline_and_switched_off_it_is_the_base(
    models: dict[str, SanaVideoModel], folders: dict[str, Path], tmp_path: Path, build: str
) -> None:
    model, text = models[build], models[build].encode_text(PROMPTS)
    base, drawn = model.predict(start(build), SIGMA, text).detach(), ours(model, build, "official")
    assert len(model.lora_targets) == 2 * 2 * 4
    with trained_adapter(model):
        lora.save_adapter(model.denoiser, tmp_path, {})
        tuned = ours(model, build, "official")
        with lora.adapter_off(model.denoiser):
            assert torch.equal(model.predict(start(build), SIGMA, text).detach(), base)
    pipeline = official(folders[build])
    pipeline.load_lora_weights(tmp_path)
    assert relative_error(tuned, theirs(pipeline, build)) <= 1e-5
    assert relative_error(tuned, drawn) > 0.01


def test_noise_levels_are_drawn_as_the_official_trainer_does(models: dict[str, SanaVideoModel]) -> None:
    one_deviation = 0.8413447460685429  # of a standard normal's mass lie below 1, whose sigmoid is 0.7310586
    drawn = models["480p"].training_sigmas(torch.tensor([0.5, one_deviation]), SHAPES["480p"])
    assert drawn.tolist() == pytest.approx([0.75, 3 * 0.7310586 / (1 + 2 * 0.7310586)], rel=1e-5)


def test_the_makers_defaults(folders: dict[str, Path], tmp_path: Path) -> None:
    for build, size in (("480p", (832, 480)), ("720p", (1280, 704))):
        whole = variant(folders[build], tmp_path / build, "model_index.json")
        (whole / "densedpo.json").unlink()
        model = at(whole)
        defaults = model.defaults
        assert (defaults.steps, defaults.guidance, defaults.frames, defaults.fps) == (50, 6.0, 81, 16.0)
        assert ((defaults.width, defaults.height), model.max_sequence_length) == (size, 300)
        assert defaults.negative_prompt == OFFICIAL_DEFAULTS["negative_prompt"]


def test_a_size_that_does_not_fit_names_the_nearest_that_do(models: dict[str, SanaVideoModel]) -> None:
    assert models["480p"].latent_shape(81, 480, 832) == (8, 21, 60, 104)
    assert models["720p"].latent_shape(81, 704, 1280) == (8, 11, 22, 40)
    with pytest.raises(UserError, match=r"8 frames do not fit this model \(1 \+ 4k\): use 5 or 9"):
        models["480p"].latent_shape(8, 64, 64)
    with pytest.raises(UserError, match=r"13 frames do not fit this model \(1 \+ 8k\): use 9 or 17"):
        models["720p"].latent_shape(13, 64, 64)
    with pytest.raises(UserError, match=r"height 48 does not fit this model \(a multiple of 32\): use 32 or 64"):
        models["480p"].latent_shape(9, 48, 64)


def test_another_autoencoder_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = variant(folders["480p"], tmp_path / "other", "model_index.json", vae=["diffusers", "AutoencoderDC"])
    with pytest.raises(UserError, match=r"has the autoencoder AutoencoderDC, which densedpo does not know"):
        at(other)


def test_the_parameters_of_the_2b_model_by_hand() -> None:
    """Per block: self-attention without biases of q, k, v; cross-attention; three convolutions and one over time."""
    d, hidden, text, frequencies, blocks, latent = 2240, 3 * 2240, 2304, 256, 20, 16 * 4
    self_attention = 4 * d * d + d + 2 * d
    cross_attention = 4 * (d * d + d) + 2 * d
    convolutions = (d * 2 * hidden + 2 * hidden) + (9 * 2 * hidden + 2 * hidden) + hidden * d + 3 * d * d
    time = frequencies * d + d + d * d + d + d * 6 * d + 6 * d
    caption = text * d + d + d * d + d + d
    whole = blocks * (self_attention + cross_attention + convolutions + 6 * d) + time + caption
    whole += (latent * d + d) + (d * latent + latent) + 2 * d
    with torch.device("meta"):
        network = SanaVideoTransformer3DModel.from_config(published()["parts"]["sana-video-2b-480p"]["config"])
    assert sum(parameter.numel() for parameter in network.parameters()) == whole
