"""Plans: counted work against torch's counter on real tensors, parameters against published counts, memory by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from densedpo import cli
from densedpo.cli.plan_command import _digits
from densedpo.diffusion.protocol import Conditioning
from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.lora import adapter_off, fresh_adapter
from densedpo.plan.checkpoint import config_folder, published
from densedpo.plan.estimate import GIB, USABLE, WITH, WITHOUT, Plan, make_plan
from densedpo.plan.meta import load_meta
from densedpo.plan.settings import PlanSettings

SMALL = {"frames": 9, "width": 32, "height": 32, "rank": 4, "batch": 2, "precision": "float32"}
# What the names say, in billions; makers round generously.
NAMED = {
    "wan2.1-1.3b": 1.3,
    "wan2.1-14b": 14,
    "wan2.2-a14b": 14,
    "wan2.2-ti2v-5b": 5,
    "cogvideox-2b": 2,
    "cogvideox-5b": 5,
    "ltx-video-2b": 2,
    "mochi-10b": 10,
    "hunyuan-video-13b": 13,
    "wan2.1-i2v-14b": 16.4,  # its name counts without the layers for CLIP's tokens: see by hand below
    "wan2.2-i2v-a14b": 14,
    "cogvideox-5b-i2v": 5,
    "cogvideox1.5-5b": 5,
    "ltx-video-13b": 13,
    "skyreels-v2-14b": 14,
    "hunyuan-video-1.5-480p": 8.3,
    "hunyuan-video-1.5-720p": 8.3,
    "kandinsky5-lite-2b": 2,
    "kandinsky5-pro-19b": 19,
    "sana-video-2b-480p": 2,
    "sana-video-2b-720p": 2,
}
TO_A_TENTH = {"hunyuan-video-1.5-480p", "hunyuan-video-1.5-720p"}  # of a billion, by their makers' README


@pytest.fixture(scope="module")
def small() -> Plan:
    return make_plan("tinyworld", PlanSettings(**SMALL, steps=10, pairs=100, gpu_rate=2.0))


@pytest.fixture(scope="module")
def tiny() -> Any:
    """The tiny model with its weights."""
    return load_model("tinyworld", device="cpu")


def inputs(model: Any, clips: int) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """What `predict` takes for so many clips of 9 frames of 32 x 32."""
    text = torch.zeros(clips, model.max_sequence_length, model.denoiser.config.text_dim)
    latents_BCFHW = torch.zeros(clips, *model.latent_shape(9, 32, 32))
    return latents_BCFHW, torch.full((clips,), 0.5), Conditioning({"text": text})


def counted_step(model: Any, *, reference: bool, checkpointing: bool) -> int:
    """FLOPs of one training step on two pairs, by torch's counter on real weights."""
    given = inputs(model, 4)
    with (
        fresh_adapter(model.denoiser, model.lora_targets, rank=4, alpha=4, seed=0),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        if reference:
            with torch.no_grad(), adapter_off(model.denoiser):
                model.predict(*given)
        if checkpointing:
            model.denoiser.enable_gradient_checkpointing()
        model.predict(*given).square().mean().backward()
        model.denoiser.disable_gradient_checkpointing()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_steps_flops_are_torchs_count_on_the_tiny_model(tiny: Any, checkpointing: bool) -> None:
    plan = make_plan("tinyworld", PlanSettings(**SMALL, checkpointing=checkpointing))
    for how, reference in (("with reference table", False), ("without reference table", True)):
        counted = counted_step(tiny, reference=reference, checkpointing=checkpointing)
        assert plan.step_flops[how] == counted


def test_parameters_of_the_tiny_model_are_those_of_its_weights(small: Plan, tiny: Any) -> None:
    parts = {"denoiser": tiny.denoiser, "text encoder": tiny.pipeline.text_encoder, "autoencoder": tiny.pipeline.vae}
    with fresh_adapter(tiny.denoiser, tiny.lora_targets, rank=4, alpha=4, seed=0) as adapter:
        assert small.parameters["adapter"] == sum(parameter.numel() for parameter in adapter)
    for part, network in parts.items():
        assert small.parameters[part] == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", NAMED)
def test_published_configs_have_the_published_numbers_of_parameters(name: str) -> None:
    with config_folder(name) as folder:
        meta = load_meta(folder, torch.bfloat16)
    parts, known = published()["models"][name]["parts"], published()["parts"]
    networks = {"transformer": meta.model.denoiser, "vae": meta.vae, "text_encoder": meta.text_encoders[0]}
    counts = {part: sum(p.numel() for p in network.parameters()) for part, network in networks.items()}
    for part, count in counts.items():
        assert count == known[parts[part]].get("parameters", count)
    assert counts["transformer"] / 1e9 == pytest.approx(
        NAMED[name], **({"abs": 0.05} if name in TO_A_TENTH else {"rel": 0.16})
    )
    assert len(meta.denoisers) == (2 if name.endswith("a14b") else 1)


def test_the_list_of_published_models_is_whole() -> None:
    models, parts = published()["models"], published()["parts"]
    assert models.keys() == NAMED.keys()
    assert {key for model in models.values() for key in model["parts"].values()} == parts.keys()
    assert all(part["source"].startswith("https://") for part in parts.values())


def test_wan_1_3b_by_hand() -> None:
    """Per block: four d x d layers with biases, twice; two feed-forward layers; norms; six rows of modulation."""
    d, ffn, text, frequencies, blocks, latent = 1536, 8960, 4096, 256, 30, 16 * 4
    block = 2 * 4 * (d * d + d) + 4 * d + 2 * d + (d * ffn + ffn) + (ffn * d + d) + 6 * d
    time = frequencies * d + d + d * d + d + d * 6 * d + 6 * d
    caption = text * d + d + d * d + d
    whole = blocks * block + time + caption + (latent * d + d) + (d * latent + latent) + 2 * d
    assert whole == published()["parts"]["wan-1.3b"]["parameters"]


def test_wan_14b_from_a_first_frame_by_hand() -> None:
    """Beside text to video: 20 more channels, and CLIP's tokens through two layers and into every cross-attention."""
    d, clip, blocks = 5120, 1280, 40
    channels = 20 * 4 * d
    embedder = 2 * clip + (clip * clip + clip) + (clip * d + d) + 2 * d
    attention = blocks * (2 * (d * d + d) + d)
    with config_folder("wan2.1-i2v-14b") as folder:
        network = load_meta(folder, torch.bfloat16).model.denoiser
    more = sum(p.numel() for p in network.parameters()) - int(published()["parts"]["wan-14b"]["parameters"])
    assert more == channels + embedder + attention


def test_a_clips_tokens_calls_and_pair(small: Plan, tiny: Any) -> None:
    _, frames, height, width = tiny.latent_shape(9, 32, 32)
    time, tall, wide = tiny.denoiser.config.patch_size
    assert small.tokens == frames // time * (height // tall) * (width // wide)
    below = int((tiny.sigmas(tiny.defaults.steps) < 0.725).sum())  # the last is 0, and eta itself comes in front
    assert small.sampling_calls == 2 * 2 * below
    clip = small.clip_flops
    assert small.pair_flops == small.sampling_calls * clip.forward + clip.encode + 2 * clip.decode


def test_memory_by_hand(small: Plan) -> None:
    for parts in small.memory.values():
        adapter = 4 * small.parameters["adapter"]
        assert (parts["adapter"], parts["gradients"], parts["optimiser"]) == (adapter, adapter, 2 * adapter)
        for part in ("denoiser", "text encoder", "autoencoder"):
            assert parts[part] == 4 * small.parameters[part]
    assert small.memory[WITH]["activations"] < small.memory[WITHOUT]["activations"] / 2


def test_kept_activations_are_what_autograd_keeps_on_real_tensors(small: Plan, tiny: Any) -> None:
    """Bytes of all saved tensors of a real forward, each piece of memory once, but for the weights."""
    saved: dict[int, torch.Tensor] = {}
    with fresh_adapter(tiny.denoiser, tiny.lora_targets, rank=4, alpha=4, seed=0):
        weights = {each.untyped_storage().data_ptr() for each in tiny.denoiser.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            tiny.predict(*inputs(tiny, 1))
    real = sum(each.untyped_storage().nbytes() for place, each in saved.items() if place not in weights)
    assert small.memory[WITHOUT]["activations"] == pytest.approx(2 * real, rel=0.05)


def test_sharding_and_offloading() -> None:
    alone = make_plan("tinyworld", PlanSettings(**SMALL)).memory[WITH]
    settings = PlanSettings(**SMALL, gpus=2, sharding="fsdp", offload="model")
    shared = make_plan("tinyworld", settings).memory[WITH]
    for part in ("denoiser", "adapter", "gradients", "optimiser"):
        assert shared[part] == alone[part] // 2
    assert (shared["text encoder"], shared["autoencoder"]) == (0, 0)
    assert shared["activations"] == alone["activations"]
    assert 0 < shared["gathered blocks"] < alone["denoiser"]


def test_hours_cost_and_fit(small: Plan) -> None:
    an_hour = 312e12 * 0.4 * 3600
    assert small.hours["pairs"] == pytest.approx(100 * small.pair_flops / an_hour)
    training = small.hours["training with reference table"]
    assert training == pytest.approx(10 * small.step_flops["with reference table"] / an_hour)
    assert small.cost == {what: pytest.approx(2 * hours) for what, hours in small.hours.items()}
    for mode, parts in small.memory.items():
        assert small.fits[mode]["24 GB"] is (sum(parts.values()) <= USABLE * 24 * GIB)


def test_no_weights_are_needed_and_mistakes_are_told(tmp_path: Path) -> None:
    with config_folder("tinyworld") as folder:
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json"}
    with pytest.raises(UserError, match=r"neither a folder nor known.*wan2\.1-1\.3b"):
        make_plan("wan-9000", PlanSettings())
    with pytest.raises(UserError, match="could not be fetched from the hub"):
        make_plan("nobody/nothing", PlanSettings())
    with pytest.raises(UserError, match=r"holds no model_index\.json"):
        make_plan(str(tmp_path), PlanSettings())
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(UserError, match="no plans for StableDiffusionPipeline yet"):
        make_plan(str(tmp_path), PlanSettings())
    with pytest.raises(UserError, match="8 GPUs cannot share a batch of 2 pairs"):
        make_plan("tinyworld", PlanSettings(batch=2, gpus=8))
    with pytest.raises(UserError, match="10 frames do not fit this model"):
        make_plan("tinyworld", PlanSettings(frames=10))


def test_the_command_prints_tables_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "tinyworld", "--frames", "9", "--width", "32", "--height", "32", "--json"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert result["settings"]["frames"] == 9
    assert result["cost"] is None
    text = "\n".join(shown)
    for word in ("autoencoder", "make a pair", "without checkpointing", "fits on 24 GB", "give --gpu-rate"):
        assert word in text


def test_a_plan_that_fits_no_card_says_what_takes_less(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ["plan", "tinyworld", "--frames", "9", "--width", "32", "--height", "32"]
    assert cli.run(tokens) == 0
    assert "fits none of these cards" not in capsys.readouterr().out
    monkeypatch.setattr("densedpo.plan.estimate.USABLE", 0.0)
    assert cli.run(tokens) == 0
    assert "fits none of these cards: try --offload model, --sharding fsdp" in capsys.readouterr().out


def test_large_numbers_are_written_out() -> None:
    assert [_digits(value) for value in (0.012345, 96.54, 1241.4, 3_100_000.0)] == [
        "0.01235",
        "96.54",
        "1,241",
        "3,100,000",
    ]
