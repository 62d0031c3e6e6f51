"""A base in 8 bits through torchao, which does it on a CPU too: what it draws, and an adapter trained on it."""

import importlib.metadata
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline
from family_checks import relative_error
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora
from densedpo.models.settings import LoadSettings
from densedpo.models.wan import WanModel
from small_projects import model_at

pytest.importorskip("torchao", reason="torchao is not installed: pip install torchao", exc_type=ImportError)


@pytest.fixture(scope="module")
def model(random_wan_folder: Path) -> WanModel:
    return quantised(random_wan_folder)


def quantised(folder: Path) -> WanModel:
    model = load_model(str(folder), LoadSettings(device="cpu", quantise="torchao-int8"))
    assert isinstance(model, WanModel)
    return model


def given(model: WanModel) -> tuple[Tensor, Tensor, Conditioning]:
    text = model.encode_text(["a red circle moves left", "a blue square moves down"])
    return noise((2, 8, 3, 6, 6), "noisy"), torch.tensor([0.3, 0.8]), text


def predicted(model: WanModel) -> Tensor:
    with torch.no_grad():
        return model.predict(*given(model))


def stored(layer: torch.nn.Module) -> str:
    return type(layer.weight).__name__


def test_the_denoisers_linear_layers_are_in_8_bits_and_nothing_else(model: WanModel, random_wan_folder: Path) -> None:
    layers = [layer for layer in model.denoiser.blocks.modules() if isinstance(layer, torch.nn.Linear)]  # type: ignore[union-attr]
    assert len(layers) == len(model.lora_targets)
    assert {stored(layer) for layer in layers} == {"Int8Tensor"}
    for part in (model.pipeline.text_encoder, model.vae):
        assert {type(parameter) for parameter in part.parameters()} == {torch.nn.Parameter}
    whole = model_at(random_wan_folder)
    assert 0 < relative_error(predicted(model), predicted(whole)) < 0.02  # 8 bits round to a 254th of a row's largest
    assert model.model_hash != whole.model_hash


def test_an_adapter_trains_on_it_and_off_it_is_the_quantised_base(
    model: WanModel, random_wan_folder: Path, tmp_path: Path
) -> None:
    base = predicted(model)
    with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0) as parameters:
        assert torch.equal(predicted(model), base)  # as every fresh adapter
        optimiser, losses = torch.optim.AdamW(parameters, lr=0.01), []
        for _ in range(3):
            loss = model.predict(*given(model)).square().mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
        assert losses[0] > losses[1] > losses[2]
        tuned = predicted(model)
        with lora.adapter_off(model.denoiser):
            assert torch.equal(predicted(model), base)
        lora.save_adapter(model.denoiser, tmp_path, {})
    assert torch.equal(predicted(model), base)
    again = quantised(random_wan_folder)
    with lora.adapter_on(again.denoiser, tmp_path):
        assert torch.equal(predicted(again), tuned)
    pipeline = WanPipeline.from_pretrained(random_wan_folder, local_files_only=True)
    pipeline.load_lora_weights(tmp_path)  # the base in full precision takes it too


def test_an_old_torchao(random_wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.9.0" if name == "torchao" else version(name))
    with pytest.raises(UserError, match=r"needs torchao 0\.15\.0 or later, but 0\.9\.0 is here: pip install --upgrade"):
        quantised(random_wan_folder)
