"""Of every build: its training target leads its own sampler back to the clip, a batch is its members alone, and an
adapter off changes no bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from family_checks import relative_error, trained_adapter
from numpy.typing import NDArray
from test_plan_of_every_family import ALL
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, given_frames
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_of
from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.models import load_model, lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers, of torch
    pytest.mark.filterwarnings("ignore:.*autocast.*:UserWarning"),  # Mochi's rotary tables, on a CPU
]


@pytest.fixture(params=ALL)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return load_model(str(ALL[request.param](tmp_path / "model")), device="cpu")


CAPTIONS = ["a red circle moves", "two"]


def clips(model: Any, count: int) -> NDArray[np.uint8]:
    size = model.defaults
    shape = (count, size.frames, size.height, size.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def conditioning(model: Any, captions: list[str], video: NDArray[np.uint8]) -> Conditioning:
    """Captions, with first frames if the model takes them."""
    told = model.encode_text(captions)
    if given_frames(model):
        return Conditioning(told.tensors | model.encode_first_frame(video[:, 0], video.shape[1]).tensors)
    return Conditioning(told.tensors)


def encoded_clip(model: Any) -> tuple[Tensor, Conditioning]:
    """A clip's latents, and what the model is told of it."""
    clip = clips(model, 1)
    return model.encode(clip), conditioning(model, CAPTIONS[:1], clip)


@torch.no_grad()
def test_a_batch_is_its_members_alone(model: Any) -> None:
    video, sigma = clips(model, 2), torch.tensor([0.3, 0.95])
    latents, decoded = model.encode(video), model.decode(model.encode(video))
    noisy = noise(tuple(latents.shape), "noisy")
    together = model.predict(noisy, sigma, conditioning(model, CAPTIONS, video))
    assert relative_error(together[:1], together[1:]) > 0.01
    for i in range(2):
        one = slice(i, i + 1)
        alone = conditioning(model, CAPTIONS[one], video[one])
        assert relative_error(together[one], model.predict(noisy[one], sigma[one], alone)) <= 1e-5
        assert relative_error(latents[one], model.encode(video[one])) <= 1e-5
        assert np.abs(decoded[one].astype(int) - model.decode(latents[one]).astype(int)).max() <= 1


@pytest.mark.parametrize("level", [0.7, 1.0])
def test_the_training_target_leads_from_a_noised_clip_back_to_it(
    model: Any, monkeypatch: pytest.MonkeyPatch, level: float
) -> None:
    (clean, told), process = encoded_clip(model), model.process
    eps, eta = noise(tuple(clean.shape), "eps"), process.nearest(torch.tensor([level], dtype=torch.float64))
    way = sampler_of(model, "official")
    schedule = way.sigmas(9, clean.shape[1:])
    eta = eta.clamp(max=schedule[0].item())  # UniPC begins a millionth below 1
    sigmas = starting_at(schedule, eta.item(), way.multistep)
    levels: list[float] = []

    def oracle(noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        levels.append(sigma_B.item())
        return torch.as_tensor(process.target(clean, eps, sigma_B))

    monkeypatch.setattr(model, "predict", oracle)
    start = process.add_noise(clean, eps, eta.float())
    drawn = sample(model, start, [sigmas], told, told, 1.0, sampler=way, keys=[(0,)])
    own = model.padding_frames + given_frames(model)  # the frames before those are told, not drawn
    assert relative_error(drawn[:, :, own:], clean[:, :, own:]) <= 1e-5
    assert len(levels) == len(sigmas) - 1 >= 2
    assert levels[0] == pytest.approx(level, abs=0.002)  # the nearest of a thousand, or a whole timestep


@torch.no_grad()
def test_an_adapter_switched_off_is_the_base_bit_for_bit(model: Any) -> None:
    clean, told = encoded_clip(model)
    given = (noise(tuple(clean.shape), "noisy"), torch.tensor([0.5]), told)
    base = model.predict(*given)
    with trained_adapter(model):
        tuned = model.predict(*given)
        with lora.adapter_off(model.denoiser):
            assert torch.equal(model.predict(*given), base)
    assert torch.equal(model.predict(*given), base)
    assert relative_error(tuned, base) > 0.001
