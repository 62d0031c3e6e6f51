"""Adapters on CogVideoX models of all three kinds: off they change nothing, saved they work in diffusers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_cogvideox import (
    KINDS,
    PROMPTS,
    diffusers_pipeline,
    loaded,
    ours,
    random_cogvideox,
    relative_error,
    starts,
    theirs,
)

from densedpo.diffusion.seeds import noise
from densedpo.models import lora
from densedpo.models.cogvideox import CogVideoXModel


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cogvideox(tmp_path_factory.mktemp("cogvideox") / request.param, request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVideoXModel:
    return loaded(folder)


@pytest.fixture
def adapted(model: CogVideoXModel) -> Iterator[CogVideoXModel]:
    """The model with an adapter of random weights, as if it had been trained hard."""
    for i, parameter in enumerate(lora.add_adapter(model.denoiser, model.lora_targets, 4, 2.0, seed=0)):
        parameter.data = 0.2 * noise(tuple(parameter.shape), "perturbed", i)
    yield model
    model.denoiser.unload_lora()  # type: ignore[operator]


def test_the_adapter_goes_on_the_four_projections_of_attention(model: CogVideoXModel) -> None:
    layers = ("to_q", "to_k", "to_v", "to_out.0")
    assert sorted(model.lora_targets) == sorted(f"transformer_blocks.{i}.attn1.{x}" for i in range(2) for x in layers)


def test_an_adapter_switched_off_is_the_base_bit_for_bit(adapted: CogVideoXModel, folder: Path) -> None:
    noisy, sigma, text = starts(adapted), torch.tensor([0.3, 1.0]), adapted.encode_text(PROMPTS)
    base = loaded(folder).predict(noisy, sigma, text)
    with lora.adapter_off(adapted.denoiser):
        assert torch.equal(adapted.predict(noisy, sigma, text), base)
    assert relative_error(adapted.predict(noisy, sigma, text), base) > 0.01


def test_a_saved_adapter_samples_the_same_in_a_fresh_diffusers_pipeline(
    adapted: CogVideoXModel, folder: Path, tmp_path: Path
) -> None:
    start = starts(adapted)
    tuned = ours(adapted, start, adapted.sigmas(4), 3.0)
    with lora.adapter_off(adapted.denoiser):
        base = ours(adapted, start, adapted.sigmas(4), 3.0)
    lora.save_adapter(adapted.denoiser, tmp_path / "adapter", {"densedpo_method": "dense"})
    fresh = diffusers_pipeline(folder)
    fresh.load_lora_weights(tmp_path / "adapter")
    expected = theirs(fresh, start, 4, 3.0).transpose(1, 2)
    assert relative_error(tuned, expected) <= 1e-5
    assert relative_error(base, expected) > 0.01
