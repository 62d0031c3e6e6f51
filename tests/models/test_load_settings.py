"""How a model is loaded: every setting, and one clear sentence for what a machine cannot do."""

import copy
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from diffusers import WanPipeline
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from model_folders import variant

from densedpo import cli
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model, lora, pipelines
from densedpo.models.load import described_families
from densedpo.models.pipelines import LoadOptions, load_pipeline
from densedpo.models.settings import LoadSettings
from densedpo.models.wan import WanModel
from small_projects import model_at, pipeline_at

CPU = torch.device("cpu")


def loaded(folder: Path, **settings: object) -> WanModel:
    model = load_model(str(folder), LoadSettings(**{"device": "cpu"} | settings))  # type: ignore[arg-type]
    assert isinstance(model, WanModel)
    return model


def drawn(model: WanModel) -> torch.Tensor:
    start, text = noise((1, 8, 3, 6, 6), "start")[None, 0], model.encode_text(["a red circle moves left"])
    return sample(model, start, [model.sigmas(3)], text, model.encode_text([""]), 3.0)


def test_precision(random_wan_folder: Path) -> None:
    assert LoadOptions.of(LoadSettings(device="cpu")).dtype == torch.float32
    model = loaded(random_wan_folder, dtype="bfloat16")
    assert (model.dtype, model.vae.dtype) == (torch.bfloat16, torch.float32)
    assert load_model(str(random_wan_folder), device="cpu", dtype=torch.float16).dtype == torch.float16


@pytest.mark.parametrize("device", ["cuda:99", "warp-core"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(UserError, match=f"there is no device '{device}' here: leave out --device, or give cpu"):
        LoadOptions.of(LoadSettings(device=device))


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_needs_a_gpu(offload: str) -> None:
    with pytest.raises(UserError, match=f"--offload {offload} is for a model on a GPU, which cpu is not: leave it out"):
        LoadOptions.of(LoadSettings(device="cpu", offload=offload))  # type: ignore[arg-type]


@pytest.fixture
def offloaded(random_wan_folder: Path) -> Iterator[WanModel]:
    """A model under the hooks that move whole parts, with the CPU in the GPU's place."""
    options = LoadOptions(CPU, torch.float32, offload="model")
    model = WanModel(random_wan_folder, load_pipeline(WanPipeline, random_wan_folder, options), options)
    yield model
    model.pipeline.remove_all_hooks()


def test_an_offloaded_model_encodes_draws_and_decodes_the_same(offloaded: WanModel, random_wan_folder: Path) -> None:
    assert hasattr(offloaded.denoiser, "_hf_hook")
    plain = model_at(random_wan_folder)
    latents = drawn(offloaded)
    assert torch.equal(latents, drawn(plain))
    ours, theirs = offloaded.decode(latents).astype(int), plain.decode(latents).astype(int)
    assert abs(ours - theirs).max() <= 1  # streamed, and so rounded otherwise
    clip = plain.decode(latents)
    torch.testing.assert_close(offloaded.encode(clip), plain.encode(clip), rtol=0, atol=1e-5)


def test_an_adapter_trains_on_an_offloaded_model(offloaded: WanModel) -> None:
    with lora.fresh_adapter(offloaded.denoiser, offloaded.lora_targets, 2, 2.0, seed=0) as parameters:
        text = offloaded.encode_text([""])
        offloaded.predict(noise((1, 8, 3, 6, 6), "x"), torch.tensor([0.5]), text).square().mean().backward()
        assert all(parameter.grad is not None for parameter in parameters)


def test_a_model_offloaded_layer_by_layer_is_not_trained(random_wan_folder: Path) -> None:
    """Nor run here: accelerate cannot offload from the CPU to the CPU."""
    options = LoadOptions(CPU, torch.float32, offload="sequential")
    model = WanModel(random_wan_folder, load_pipeline(WanPipeline, random_wan_folder, options), options)
    assert all(parameter.is_meta for parameter in model.denoiser.parameters())
    with pytest.raises(UserError, match=r"under --offload sequential cannot be trained: use --offload model or none"):
        lora.add_adapter(model.denoiser, model.lora_targets, 2, 2.0, seed=0)


@pytest.mark.parametrize(
    ("quantise", "package"), [("nf4", "bitsandbytes"), ("int8", "bitsandbytes"), ("torchao-int8", "torchao")]
)
def test_a_quantised_base_names_the_package_that_is_missing(
    random_wan_folder: Path, monkeypatch: pytest.MonkeyPatch, quantise: str, package: str
) -> None:
    monkeypatch.setattr(pipelines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"--quantise {quantise} needs {package}: pip install {package}"):
        loaded(random_wan_folder, quantise=quantise)


def test_bitsandbytes_needs_a_gpu(random_wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"--quantise nf4 runs on a GPU only: use torchao-int8 or none on the CPU"):
        loaded(random_wan_folder, quantise="nf4")


@pytest.mark.parametrize("experts", [1, 2])
def test_denoisers_would_be_quantised_and_nothing_else(
    random_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experts: int
) -> None:
    second = {"transformer_2": ["diffusers", "WanTransformer3DModel"]} if experts == 2 else {}
    folder = variant(random_wan_folder, tmp_path / "wan", "model_index.json", **second)
    monkeypatch.setattr(pipelines, "find_spec", lambda name: object())
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.50" if name == "bitsandbytes" else version(name))
    config = pipelines.quantisation(folder, LoadOptions(torch.device("cuda"), torch.bfloat16, quantise="nf4"))
    assert list(config.quant_mapping) == ["transformer", "transformer_2"][:experts]
    asked = config.quant_mapping["transformer"].to_dict()
    assert (asked["load_in_4bit"], asked["bnb_4bit_quant_type"], asked["bnb_4bit_compute_dtype"]) == (
        True,
        "nf4",
        "bfloat16",
    )


def test_the_attention_backend(random_wan_folder: Path) -> None:
    model = loaded(random_wan_folder, attention="_native_math")
    try:
        assert {block.attn1.processor._attention_backend.value for block in model.denoiser.blocks} == {"_native_math"}  # type: ignore[union-attr]
        mine = drawn(model)
        assert _AttentionBackendRegistry.get_active_backend()[0] == AttentionBackendName.NATIVE  # of other models
    finally:
        model.denoiser.reset_attention_backend()  # type: ignore[operator]
    assert (mine - drawn(model_at(random_wan_folder))).abs().max() <= 1e-5 * mine.abs().max()
    with pytest.raises(UserError, match=r"--attention telepathy cannot be used here: .*must be one of"):
        loaded(random_wan_folder, attention="telepathy")
    with pytest.raises(UserError, match=r"--attention sage cannot be used here: .*sageattention"):
        loaded(random_wan_folder, attention="sage")


def test_a_tiled_autoencoder(random_wan_folder: Path) -> None:
    model = loaded(random_wan_folder, tiled_vae=True)
    assert model.vae.use_tiling
    latents = noise((1, 8, 3, 6, 6), "latents")  # smaller than a tile, so nothing is cut
    assert abs(model.decode(latents).astype(int) - model_at(random_wan_folder).decode(latents).astype(int)).max() <= 1


def test_tiles_are_those_of_diffusers(random_wan_folder: Path) -> None:
    model, official = loaded(random_wan_folder, tiled_vae=True), copy.deepcopy(pipeline_at(random_wan_folder).vae)
    official.enable_tiling()
    for vae in (model.vae, official):
        vae.tile_sample_min_height = vae.tile_sample_min_width = 32
        vae.tile_sample_stride_height = vae.tile_sample_stride_width = 16
    latents = noise((1, 8, 3, 6, 6), "latents")
    with torch.no_grad():
        expected = ((official.decode(latents).sample.permute(0, 2, 3, 4, 1) + 1) * 127.5).clamp(0, 255)
    ours = model.decode(latents)
    assert abs(torch.from_numpy(ours) - expected).max() <= 0.5 + 0.01
    whole = model_at(random_wan_folder)
    assert abs(ours.astype(int) - whole.decode(latents)).max() > 2  # or nothing was cut
    clip = whole.decode(latents)
    assert (model.encode(clip) - whole.encode(clip)).abs().max() > 1e-3


def test_part_of_a_model_in_pickles_only_is_refused(random_wan_folder: Path, tmp_path: Path) -> None:
    for entry in random_wan_folder.iterdir():
        if entry.name != "vae":
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").symlink_to(random_wan_folder / "vae" / "config.json")
    (tmp_path / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(
        UserError, match=r"vae holds pickled weights only \(diffusion_pytorch_model\.bin\), and opening"
    ):
        load_model(str(tmp_path), device="cpu")
    weights = "diffusion_pytorch_model.safetensors"
    (tmp_path / "vae" / weights).symlink_to(random_wan_folder / "vae" / weights)
    load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_names_the_ways_out(failure: Exception) -> None:
    ways_out = r"too little memory for loading x: try a smaller --batch .*--offload model"
    with pytest.raises(UserError, match=ways_out), memory_is_clear("loading x"):
        raise failure


def test_too_little_memory_on_the_cpu_is_told_from_other_failures() -> None:
    with pytest.raises(UserError, match=r"too little memory for a test"), memory_is_clear("a test"):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="something else"), memory_is_clear("a test"):
        raise RuntimeError("something else")


def test_running_out_of_memory_while_sampling_or_decoding(
    random_wan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(random_wan_folder)

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    latents = noise((1, 8, 3, 6, 6), "latents")
    monkeypatch.setattr(model.vae.decoder, "forward", fail)
    with pytest.raises(UserError, match=r"too little memory for decoding 1 clips at once"):
        model.decode(latents)
    monkeypatch.setattr(model.denoiser, "forward", fail)
    with pytest.raises(UserError, match=r"too little memory for sampling 1 clips at once"):
        drawn(model)


def test_quantised_weights_have_another_hash(random_wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs made with them are pairs of another model; here the weights stay whole, only the setting is given."""
    monkeypatch.setattr(LoadOptions, "of", classmethod(lambda cls, settings: cls(CPU, torch.float32, quantise="nf4")))
    monkeypatch.setattr(pipelines, "quantisation", lambda folder, options: None)
    model, plain = load_model(str(random_wan_folder)), model_at(random_wan_folder)
    assert len(model.model_hash) == 32
    assert model.model_hash != plain.model_hash
    assert model.vae_hash == plain.vae_hash


def test_a_caption_that_the_model_will_not_read_to_its_end(random_wan_folder: Path) -> None:
    model = model_at(random_wan_folder)
    with pytest.warns(UserWarning, match=r"'a red circle.* has 31 tokens, of which this model reads the first 24"):
        model.encode_text(["a red circle moves left " * 6])
    words = ["a", "red", "circle", "moves", "left"] * 5
    model.encode_text([" ".join(words[:23])])  # with the end of the text 24 tokens, and any warning is an error here
    with pytest.warns(UserWarning, match="has 25 tokens, of which this model reads the first 24"):
        model.encode_text([" ".join(words[:24])])


def test_the_command_lists_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["families"]
    assert [family["name"] for family in listed] == [family.name for family in described_families()]
    wan = next(family for family in listed if family["name"] == "wan")
    assert wan["pipelines"] == ["WanPipeline"]
    assert "Wan 2.2 T2V A14B (two experts)" in wan["sizes"]
    assert (wan["frame_rule"], "tiny random weights" in wan["proven"]) == ("1 + 4k", True)


def test_a_family_that_says_nothing_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = ModuleType("densedpo.models.quiet")
    quiet.PIPELINES = ("QuietPipeline",)  # type: ignore[attr-defined]
    monkeypatch.setattr("densedpo.models.load.families", lambda: {"QuietPipeline": quiet})
    (family,) = described_families()
    assert (family.name, family.pipelines, family.sizes, family.frame_rule) == ("quiet", ("QuietPipeline",), (), "")
