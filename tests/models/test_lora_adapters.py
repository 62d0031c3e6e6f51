"""Adapters: what they change, what they leave alone, and that diffusers reads what we write."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import lora
from densedpo.models.wan import WanModel
from small_projects import model_at

NOISY, SIGMA = noise((2, 8, 3, 6, 6), "noisy"), torch.tensor([0.4, 0.9])
PROMPTS = ["a red circle moves left", "a blue square moves down"]


@pytest.fixture
def model(random_wan_folder: Path) -> Iterator[WanModel]:
    model = model_at(random_wan_folder)
    assert not _adapters(model)
    yield model
    if _adapters(model):
        model.denoiser.unload_lora()  # type: ignore[operator]


@pytest.fixture
def predict(model: WanModel) -> Callable[[], Tensor]:
    text = model.encode_text(PROMPTS)
    return lambda: model.predict(NOISY, SIGMA, text).detach()


def _adapters(model: WanModel) -> list[str]:
    """What a denoiser without adapter does not have; of an empty `peft_config`, too, PEFT would warn the next time."""
    layers = [name for name, _ in model.denoiser.named_modules() if "lora" in name]
    return layers + [name for name in vars(model.denoiser) if name == "peft_config"]


def perturbed(model: WanModel, rank: int = 4, alpha: float = 4.0) -> None:
    """Put an adapter with random weights on the model, as if it had been trained hard."""
    for i, parameter in enumerate(lora.add_adapter(model.denoiser, model.lora_targets, rank, alpha, seed=0)):
        parameter.data = 0.2 * noise(tuple(parameter.shape), "perturbed", i)


def test_a_fresh_adapter_changes_no_bit(model: WanModel, predict: Callable[[], Tensor]) -> None:
    base = predict()
    parameters = lora.add_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0)
    assert torch.equal(predict(), base)
    layers = [n for n, m in model.denoiser.named_modules() if n.startswith("blocks.") and n.endswith("base_layer")]
    assert len(parameters) == 2 * len(layers) == 2 * 2 * 10  # A and B; two blocks of two attentions and an MLP
    assert all(p.dtype == torch.float32 for p in parameters)


def test_switched_off_it_is_the_base_bit_for_bit_and_switched_on_it_is_back(
    model: WanModel, predict: Callable[[], Tensor]
) -> None:
    base = predict()
    perturbed(model)
    tuned = predict()
    with lora.adapter_off(model.denoiser):
        assert torch.equal(predict(), base)
    assert torch.equal(predict(), tuned)
    assert (tuned - base).abs().max() > 0.05 * base.abs().max()


def test_a_failure_while_it_is_off_switches_it_on_again(model: WanModel, predict: Callable[[], Tensor]) -> None:
    perturbed(model)
    tuned = predict()
    with pytest.raises(ZeroDivisionError), lora.adapter_off(model.denoiser):
        _ = 1 / 0
    assert torch.equal(predict(), tuned)


@pytest.mark.parametrize("alpha", [4.0, 1.0])
def test_the_adapter_adds_alpha_over_rank_times_b_a_to_each_weight(
    model: WanModel, predict: Callable[[], Tensor], alpha: float
) -> None:
    perturbed(model, 4, alpha)
    tuned, state = predict(), lora.adapter_state(model.denoiser)
    model.denoiser.unload_lora()  # type: ignore[operator]
    weights = {name: p.data.clone() for name, p in model.denoiser.named_parameters()}
    for key in [key for key in state if ".lora_A." in key]:
        up, down = state[key.replace("lora_A", "lora_B")], state[key]
        model.denoiser.get_parameter(key.replace("lora_A.", "")).data += alpha / 4 * up @ down
    merged = predict()
    for name, weight in weights.items():
        model.denoiser.get_parameter(name).data = weight
    assert (merged - tuned).abs().max() < 1e-5 * tuned.abs().max()


def test_its_start_is_a_function_of_the_seed_alone(model: WanModel) -> None:
    states = []
    for seed in (0, 1, 0):
        before = torch.random.get_rng_state()
        with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed):
            states.append(lora.adapter_state(model.denoiser))
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.randn(3)
    key = next(key for key in states[0] if "lora_A" in key)
    assert all(torch.equal(states[0][k], states[2][k]) for k in states[0])
    assert not torch.equal(states[0][key], states[1][key])
    assert not _adapters(model)


def test_its_state_can_be_put_back(model: WanModel, predict: Callable[[], Tensor]) -> None:
    perturbed(model)
    tuned, state = predict(), lora.adapter_state(model.denoiser)
    model.denoiser.unload_lora()  # type: ignore[operator]
    lora.add_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=1)
    assert not torch.equal(predict(), tuned)
    lora.restore_adapter_state(model.denoiser, state)
    assert torch.equal(predict(), tuned)


@pytest.mark.parametrize(("rank", "alpha"), [(4, 4.0), (4, 1.0)])
def test_a_saved_adapter_samples_the_same_in_a_fresh_diffusers_pipeline(
    model: WanModel, random_wan_folder: Path, tmp_path: Path, rank: int, alpha: float
) -> None:
    start = torch.stack([noise((8, 3, 6, 6), "start", i) for i in range(2)])
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["", ""])
    base = sample(model, start, [model.sigmas(4)] * 2, positive, negative, 3.0)
    perturbed(model, rank, alpha)
    lora.save_adapter(model.denoiser, tmp_path / "adapter", {"densedpo_method": "dense"})
    ours = sample(model, start, [model.sigmas(4)] * 2, positive, negative, 3.0)

    pipeline = WanPipeline.from_pretrained(random_wan_folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path / "adapter")
    theirs = pipeline(
        prompt=PROMPTS,
        latents=start.clone(),
        num_inference_steps=4,
        guidance_scale=3.0,
        height=48,
        width=48,
        num_frames=9,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert (ours - base).abs().max() > 0.01 * base.abs().max()


def test_a_saved_adapter_comes_back_for_as_long_as_it_is_wanted(
    model: WanModel, predict: Callable[[], Tensor], tmp_path: Path
) -> None:
    base = predict()
    perturbed(model, 4, 1.0)
    tuned = predict()
    file = lora.save_adapter(model.denoiser, tmp_path, {"densedpo_method": "dense"})
    model.denoiser.unload_lora()  # type: ignore[operator]
    with lora.adapter_on(model.denoiser, tmp_path):
        assert torch.equal(predict(), tuned)
        assert not any(p.requires_grad for p in model.denoiser.parameters())
    assert torch.equal(predict(), base)
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["densedpo_method"] == "dense"
    assert [path.name for path in tmp_path.iterdir()] == [lora.WEIGHTS]


def test_a_folder_without_an_adapter(model: WanModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no adapter .*: give the `adapter` folder of a training run"):
        lora.load_adapter(model.denoiser, tmp_path)


def test_a_damaged_adapter(model: WanModel, tmp_path: Path) -> None:
    (tmp_path / lora.WEIGHTS).write_bytes(b"\x10\0\0\0\0\0\0\0 cut off")
    with pytest.raises(UserError, match=r"is damaged .*: train again, or copy the file again"):
        lora.load_adapter(model.denoiser, tmp_path)


OTHERS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "wider": lambda state: {k: torch.cat([v, v], -1) if "lora_A" in k else v for k, v in state.items()},
    "of other names": lambda state: {k.replace("blocks", "layers"): v for k, v in state.items()},
    "deeper": lambda state: state | {k.replace("blocks.0.", "blocks.9."): v.clone() for k, v in state.items()},
    "of another part": lambda state: {k.removeprefix("transformer."): v for k, v in state.items()},
    "no adapter at all": lambda _: {"weight": torch.zeros(3)},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_adapter_for_another_model_is_refused_and_leaves_nothing_behind(
    model: WanModel, predict: Callable[[], Tensor], tmp_path: Path, kind: str
) -> None:
    base = predict()
    perturbed(model)
    file = lora.save_adapter(model.denoiser, tmp_path, {})
    model.denoiser.unload_lora()  # type: ignore[operator]
    save_file(OTHERS[kind](load_file(file)), file)
    with pytest.raises(UserError, match=r"was made for another model: load it with the base model it names"):
        lora.load_adapter(model.denoiser, tmp_path)
    assert torch.equal(predict(), base)
    assert not _adapters(model)
