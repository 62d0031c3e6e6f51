"""A Wan model's own parts, against diffusers' pipeline on the same folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import variant
from numpy.typing import NDArray

from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models.wan import WanModel
from small_projects import model_at, pipeline_at

MEAN, STD = [0.3 * i - 1 for i in range(8)], [0.5 + 0.25 * i for i in range(8)]


@pytest.fixture(scope="module")
def folder(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model with latent statistics that are not 0 and 1."""
    place = tmp_path_factory.mktemp("normalised") / "wan"
    return variant(random_wan_folder, place, "vae/config.json", latents_mean=MEAN, latents_std=STD)


@pytest.fixture
def model(folder: Path) -> WanModel:
    return model_at(folder)


@pytest.fixture
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 48, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((9, 48, 48), (8, 3, 6, 6)), ((33, 48, 64), (8, 9, 6, 8)), ((1, 16, 32), (8, 1, 2, 4))],
)
def test_latent_shape(model: WanModel, size: tuple[int, int, int], expected: tuple[int, ...]) -> None:
    assert model.latent_shape(*size) == expected
    if size[0] < 33:
        assert model.encode(np.zeros((1, *size, 3), dtype=np.uint8)).shape == (1, *expected)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((10, 48, 48), r"10 frames do not fit this model \(1 \+ 4k\): use 9 or 13"),
        ((0, 48, 48), r"0 frames do not fit this model \(1 \+ 4k\): use 1 or 5"),
        ((9, 40, 48), r"height 40 does not fit this model \(a multiple of 16\): use 32 or 48"),
        ((9, 48, 15), r"width 15 does not fit this model \(a multiple of 16\): use 16 or 32"),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest_that_do(
    model: WanModel, size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        model.latent_shape(*size)


def test_encoding_normalises_the_posteriors_mean(model: WanModel, folder: Path, clips: NDArray[np.uint8]) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mode = pipeline_at(folder).vae.encode(pixels).latent_dist.mode()
    assert latents.dtype == torch.float32
    back = latents * torch.tensor(STD).view(1, 8, 1, 1, 1) + torch.tensor(MEAN).view(1, 8, 1, 1, 1)
    torch.testing.assert_close(back, mode, rtol=0, atol=2e-6)
    assert (latents - mode).abs().max() > 0.5


def test_decoding_gives_the_pixels_of_the_pipeline(model: WanModel, folder: Path) -> None:
    latents = noise((2, 8, 3, 6, 6), "latents")
    pipeline = pipeline_at(folder)
    mean, std = (torch.tensor(pipeline.vae.config[key]).view(1, 8, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents * std + mean).sample
    theirs = pipeline.video_processor.postprocess_video(decoded, output_type="np") * 255
    ours = model.decode(latents)
    assert (ours.shape, ours.dtype) == ((2, 9, 48, 48, 3), np.uint8)
    assert np.abs(ours - theirs).max() <= 0.5 + 1e-3
    assert ours.std() > 5


def test_text_is_encoded_as_the_pipeline_does_it(model: WanModel, folder: Path) -> None:
    prompts = ["a red circle moves left", "", "a blue square"]
    with torch.no_grad():
        theirs, _ = pipeline_at(folder).encode_prompt(
            prompts, do_classifier_free_guidance=False, max_sequence_length=24
        )
    ours = model.encode_text(prompts).tensors["text"]
    assert torch.equal(ours, theirs)
    assert ours.shape == (3, 24, 32)
    assert not ours[2, 5:].any()  # three words and the end; beyond them nothing
    assert ours[2, :3].any()


def test_a_prompts_encoding_does_not_depend_on_its_neighbours(model: WanModel) -> None:
    together = model.encode_text(["a red circle moves left", "a blue square"]).tensors["text"]
    assert torch.equal(model.encode_text(["a blue square"]).tensors["text"][0], together[1])


def test_the_network_is_told_a_thousand_sigma(model: WanModel) -> None:
    told = {}
    hook = model.denoiser.register_forward_pre_hook(lambda _, __, given: told.update(given), with_kwargs=True)
    model.predict(noise((2, 8, 3, 6, 6), "x"), torch.tensor([0.25, 1.0]), model.encode_text(["", ""]))
    hook.remove()
    assert told["timestep"].tolist() == [250.0, 1000.0]
