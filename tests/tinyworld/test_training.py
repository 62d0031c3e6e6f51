"""The script that trains the tiny model: stopped and continued, it ends where an unbroken run ends, bit for bit."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file

from densedpo import tinyworld
from densedpo.tinyworld import world

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHIPPED = Path(tinyworld.__file__).parent / "model"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the script, by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"tinyworld_training.{name}")


def weights_in(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["averages"])


def assert_equal(one: Path, other: Path) -> None:
    first, second = weights_in(one), weights_in(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_the_autoencoder_continues_bit_for_bit_and_learns(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autoencoder = script("autoencoder")
    monkeypatch.setitem(autoencoder.CONFIG, "decoder_base_dim", 16)  # cheaper than the real one, and as quick to learn
    autoencoder.train(tmp_path / "whole", 40, 0, until=24)  # the last two steps are of whole clips
    autoencoder.train(tmp_path / "broken", 40, 0, until=12)
    autoencoder.train(tmp_path / "broken", 40, 0, until=24)
    assert_equal(tmp_path / "whole" / "vae.pt", tmp_path / "broken" / "vae.pt")
    autoencoder.train_clips(tmp_path / "whole", 5, 0, until=4)
    for until in (2, 4):
        autoencoder.train_clips(tmp_path / "broken", 5, 0, until=until)
    assert_equal(tmp_path / "whole" / "clips.pt", tmp_path / "broken" / "clips.pt")
    first, second = (weights_in(tmp_path / "whole" / name) for name in ("vae.pt", "clips.pt"))
    for part in ("encoder", "decoder"):
        assert not torch.equal(first[f"{part}.conv_in.weight"], second[f"{part}.conv_in.weight"])

    vae = autoencoder.make_fast(autoencoder.new_autoencoder().requires_grad_(False))
    video, shape, _ = autoencoder.batch(10_000, 32, 1, 32, 0)
    covered = (shape > 0.5).expand_as(video)

    def error() -> float:
        decoded = autoencoder.decode_whole(vae, autoencoder.encode_whole(vae, video))
        return float((decoded - video)[covered].square().mean())

    torch.manual_seed(0)
    autoencoder.initialise(vae)
    untrained = error()
    vae.load_state_dict(weights_in(tmp_path / "whole" / "vae.pt"))
    assert error() < 0.8 * untrained


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")  # torch, of mixed precision
def test_the_denoiser_continues_bit_for_bit_and_learns(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autoencoder, denoiser = script("autoencoder"), script("denoiser")
    monkeypatch.setitem(autoencoder.CONFIG, "base_dim", 8)
    monkeypatch.setitem(autoencoder.CONFIG, "decoder_base_dim", 8)
    monkeypatch.setitem(denoiser.CONFIG, "num_layers", 2)  # a third of the work
    monkeypatch.setattr(denoiser, "CHUNK", 16)
    monkeypatch.setattr(denoiser, "POOL", 32)
    monkeypatch.setattr(denoiser, "BATCH", 8)
    for run in ("whole", "broken"):
        autoencoder.train(tmp_path / run, 60, 0, until=1)
    denoiser.train(tmp_path / "whole", 60, 0, until=40)
    denoiser.train(tmp_path / "broken", 60, 0, until=20)
    denoiser.train(tmp_path / "broken", 60, 0, until=40)
    assert_equal(tmp_path / "whole" / "denoiser.pt", tmp_path / "broken" / "denoiser.pt")
    log = (tmp_path / "broken" / "denoiser.jsonl").read_text().splitlines()
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in log]
    assert len(losses) == 2  # one line for every 20 steps
    assert np.isfinite(losses).all()
    assert losses[1] < losses[0] < 2.2  # predicting nothing costs 2: noise and clip have variance 1 each

    def assert_exported(part: str, saved: Path, prefix: str = "") -> None:
        exported = load_file(tmp_path / "model" / part / "diffusion_pytorch_model.safetensors")
        for name, value in exported.items():
            assert torch.equal(value, weights_in(saved)[prefix + name].half()), name

    denoiser.export(tmp_path / "whole", tmp_path / "model")
    assert_exported("transformer", tmp_path / "whole" / "denoiser.pt", "transformer.")
    assert_exported("vae", tmp_path / "whole" / "vae.pt")
    autoencoder.train_decoder(tmp_path / "whole", 60, 0, until=2)
    denoiser.export(tmp_path / "whole", tmp_path / "model")
    assert_exported("vae", tmp_path / "whole" / "decoder.pt")
    first, second = (weights_in(tmp_path / "whole" / name) for name in ("vae.pt", "decoder.pt"))
    assert torch.equal(first["encoder.conv_in.weight"], second["encoder.conv_in.weight"])
    assert not torch.equal(first["decoder.conv_in.weight"], second["decoder.conv_in.weight"])


def test_a_warm_start_computes_what_the_model_did_and_its_new_channels_learn(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    autoencoder, warm_start = script("autoencoder"), script("warm_start")
    narrow = AutoencoderKLWan(**{**autoencoder.CONFIG, "base_dim": 8, "decoder_base_dim": 8})
    wide = AutoencoderKLWan(**{**autoencoder.CONFIG, "base_dim": 16, "decoder_base_dim": 16})
    torch.manual_seed(0)
    for vae in (narrow, wide):
        autoencoder.initialise(vae)
        for name, weight in vae.named_parameters():
            if "bias" in name or "gamma" in name or "time_conv" in name:
                torch.nn.init.normal_(weight, mean=0.2, std=0.1)
    warm_start.widen(wide, narrow)
    latents = torch.randn(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    before = narrow.decode(latents).sample
    assert before.std() > 0.05  # so that agreement says something
    torch.testing.assert_close(wide.decode(latents).sample, before, rtol=1e-4, atol=1e-5)
    video = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    encoded = narrow.encode(video).latent_dist.mean
    assert encoded.std() > 0.05
    torch.testing.assert_close(wide.encode(video).latent_dist.mean, encoded, rtol=1e-4, atol=1e-5)

    wide.decode(latents).sample.square().mean().backward()
    new_writers = wide.decoder.up_blocks[2].resnets[0].conv2.weight.grad[8:]
    assert new_writers.abs().max() > 0  # nothing comes out of them yet, and it will


def test_a_warm_start_has_the_weights_of_the_model_that_ships(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    script("warm_start").warm_start(SHIPPED, tmp_path)
    begun = torch.load(tmp_path / "denoiser.pt", weights_only=True)
    assert begun["step"] == 0
    shipped = WanTransformer3DModel.from_pretrained(SHIPPED / "transformer", torch_dtype=torch.float32).state_dict()
    assert shipped
    for name, value in shipped.items():
        assert torch.equal(begun["averages"][f"transformer.{name}"], value), name
        assert torch.equal(begun["module"][f"transformer.{name}"], value), name


def test_no_caption_that_the_model_learns_from_spins() -> None:
    assert not any(attributes.spinning for split, _ in world.SPLITS for attributes in world.captions(split))
    assert all(np.ptp(world.draw_scene(0, item).angles) == 0 for item in range(50))


def test_newton_schulz_makes_singular_values_alike(script: Callable[[str], ModuleType]) -> None:
    orthogonal = script("trainer").orthogonal
    generator = torch.Generator().manual_seed(0)
    for shape in ((16, 432), (432, 16), (64, 64)):
        singular = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator)))
        assert singular.min() > 0.6 and singular.max() < 1.3, shape
