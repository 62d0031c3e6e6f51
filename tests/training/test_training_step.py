"""One optimiser step, recomputed with other code: weights merged by hand, errors and sums in numpy."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import norm
from torch import Tensor

from densedpo.diffusion.seeds import generator
from densedpo.errors import UserError
from densedpo.store.project import Project
from densedpo.store.shapes import Shape
from densedpo.training import TrainSettings
from densedpo.training.data import Example, Slot, batch_order
from densedpo.training.draws import draw_sigma
from densedpo.training.errors import Inputs, frame_errors, residual
from densedpo.training.loop import train
from small_projects import LATENT_SHAPE, empty_project, give_labels, model_at, plant_pair

BETA, RANK, ALPHA = 2.0, 4, 2.0
SETTINGS = TrainSettings(
    beta=BETA, rank=RANK, alpha=ALPHA, lr=0.05, warmup=0, steps=2, batch=3, save_every=1, keep=2, timestep_shift=3.0
)
# Two segments, three latent frames: frame 0 in the first, frame 1 three quarters in it, frame 2 in the second.
FRAMES_SF = np.array([[1, 0.75, 0], [0, 0.25, 1]])
CHOICES = [("a", "b"), ("b", "tie"), ("tie", "a")]
SIGNS = {"a": 1, "b": -1, "tie": 0}


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = empty_project(tmp_path_factory.mktemp("step") / "project", random_wan_folder)
    for number, choices in enumerate(CHOICES):
        give_labels(project, plant_pair(project, number), *choices, whole=choices[0])
    return project


@pytest.fixture(scope="module")
def trained(project: Project, random_wan_folder: Path) -> Callable[[dict[str, object]], Path]:
    def run(changes: dict[str, object]) -> Path:
        name = "run-" + "-".join(map(str, changes.values()))
        return train(project, model_at(random_wan_folder), SETTINGS.model_copy(update=changes), name).run

    return run


def losses_logged(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def errors_by_hand(project: Project, folder: Path, run: Path, step: int) -> tuple[NDArray[np.float64], list[str]]:
    """Delta_a - Delta_b at `step`, `[B, F]`, with the adapter that the checkpoint before it holds; and the pairs."""
    pairs = list(project.pairs())
    order = [pairs[index] for _, index in batch_order(len(pairs), SETTINGS.batch, step, SETTINGS.seed)]
    keys = [f"{place}/{pair.id}" for place, pair in enumerate(order)]
    uniform = [torch.rand((), generator=generator(0, "sigma", step, key), dtype=torch.float64).item() for key in keys]
    plain = torch.sigmoid(torch.tensor(norm.ppf(uniform)).float())
    sigma = 3 * plain / (1 + 2 * plain)
    eps = torch.stack([torch.randn(LATENT_SHAPE, generator=generator(0, "noise", step, key, "a")) for key in keys])
    members = [load_file(project.latents_path(str(pair.latents))) for pair in order]
    clean = torch.stack([member[side] for side in ("a", "b") for member in members])
    level, eps = torch.cat([sigma, sigma]).view(-1, 1, 1, 1, 1), torch.cat([eps, eps])
    noisy, target = (1 - level) * clean + level * eps, eps - clean
    text = model_at(folder).encode_text([pair.prompt for pair in order] * 2).tensors["text"]

    def errors(denoiser: WanTransformer3DModel) -> NDArray[np.float64]:
        with torch.no_grad():
            out = denoiser(noisy, level.flatten() * 1000, text, return_dict=False)[0]
        return ((out - target).double().numpy() ** 2).mean(axis=(1, 3, 4))

    denoiser = WanTransformer3DModel.from_pretrained(folder, subfolder="transformer")
    reference = errors(denoiser)
    _merge(denoiser, torch.load(run / f"checkpoints/step-{step:06d}/state.pt")["adapter"])
    delta_a, delta_b = np.split(errors(denoiser) - reference, 2)
    return delta_a - delta_b, [pair.id for pair in order]


def _merge(denoiser: WanTransformer3DModel, adapter: dict[str, Tensor]) -> None:
    for key, down in adapter.items():
        if ".lora_A." in key:
            weight = denoiser.get_parameter(key.replace("lora_A.", ""))
            weight.data += ALPHA / RANK * adapter[key.replace("lora_A", "lora_B")] @ down


def labels_by_hand(project: Project, pairs: list[str]) -> NDArray[np.float64]:
    """`[B, S]`."""
    signs = np.zeros((len(pairs), 2))
    for label in project.labels():
        if label.segment is not None:
            signs[pairs.index(label.pair), label.segment] = SIGNS[label.choice]
    return signs


def test_the_first_step_pays_ln_2_and_the_second_what_its_saved_tensors_say(
    project: Project, random_wan_folder: Path, trained: Callable[[dict[str, object]], Path]
) -> None:
    run = trained({})
    gap_BF, pairs = errors_by_hand(project, random_wan_folder, run, step=1)
    mean_BF = labels_by_hand(project, pairs) @ FRAMES_SF
    terms_BF = np.log1p(np.exp(0.5 * BETA * np.sign(mean_BF) * gap_BF))
    expected = (np.abs(mean_BF) * terms_BF).sum() / np.abs(mean_BF).sum()
    assert sorted(np.abs(mean_BF).sum(axis=1)) == [1.25, 1.75, 2.5]  # (1, .5, 1), (1, .75, 0), (0, .25, 1)
    first, second = losses_logged(run)
    assert first == pytest.approx(math.log(2), rel=1e-6)
    assert second == pytest.approx(expected, rel=1e-6)
    assert abs(second - math.log(2)) > 1e-3


def test_structural_pays_for_whole_videos(
    project: Project, random_wan_folder: Path, trained: Callable[[dict[str, object]], Path]
) -> None:
    """The pair whose video is tied is left out, so each batch of three holds one of the two others twice."""
    run = trained({"method": "structural", "minimum_nontie": 0.0})
    assert json.loads((run / "run.json").read_text())["left_out"] == {"tied": 1}
    first, second = losses_logged(run)
    assert first == pytest.approx(math.log(2), rel=1e-6)
    assert abs(second - math.log(2)) > 1e-3


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_of_any_size_give_the_same_adapter(
    trained: Callable[[dict[str, object]], Path], micro_batch: int
) -> None:
    """Pairs weigh 1.25, 1.75 and 2.5 here, so a mean of the micro-batches' means would be another loss.

    Adam divides gradients by their own size, so rounding shows in weights a thousand times as large as in gradients;
    the gradients themselves are compared to 1e-5 in test_engine_options.py.
    """
    common = {"steps": 4, "lr": 1e-3, "beta": 100.0}
    whole = load_file(trained(common) / "adapter/pytorch_lora_weights.safetensors")
    parts = load_file(trained({**common, "micro_batch": micro_batch}) / "adapter/pytorch_lora_weights.safetensors")
    largest = max(weight.abs().max().item() for name, weight in whole.items() if "lora_B" in name)
    assert largest > 1e-3
    assert max((whole[name] - parts[name]).abs().max().item() for name in whole) < 1e-3 * largest


def test_the_log_says_what_a_step_saw(trained: Callable[[dict[str, object]], Path]) -> None:
    run = trained({"steps": 3, "warmup": 2, "lr": 0.01})
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["lr"] for row in rows] == [0.005, 0.01, 0.01]
    assert [rows[0][key] for key in ("winner_delta", "loser_delta")] == pytest.approx([0, 0], abs=1e-6)
    assert abs(rows[2]["winner_delta"]) > 1e-5 < abs(rows[2]["loser_delta"])
    assert all(row["grad_norm"] > 0 and row["seconds"] > 0 for row in rows)


def test_padding_frames_count_in_no_error() -> None:
    target = torch.zeros(1, 2, 3, 2, 2)
    prediction = torch.zeros(1, 2, 3, 2, 2)
    prediction[:, :, 0], prediction[:, 0, 1], prediction[:, :, 2] = 100.0, 2.0, 3.0
    errors = []
    for padding in (0, 1):
        model: Any = SimpleNamespace(predict=lambda *_: prediction, padding_frames=padding)
        inputs: Any = Inputs(target, target, torch.ones(1), None, None)  # type: ignore[arg-type]
        errors.append(frame_errors(residual(model, inputs, SETTINGS)).tolist())
    assert errors == [[[10_000.0, 2.0, 9.0]], [[2.0, 9.0]]]


def test_autocast_is_of_the_device_that_the_model_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs wait on the CPU, whose autocast does nothing on a GPU."""
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda *given: asked.append(given) or nullcontext())
    zeros = torch.zeros(1, 2, 3, 2, 2)
    model: Any = SimpleNamespace(predict=lambda *_: zeros, padding_frames=0, device=torch.device("cuda:1"))
    inputs: Any = Inputs(zeros, zeros, torch.ones(1), None, None)  # type: ignore[arg-type]
    residual(model, inputs, SETTINGS)
    residual(model, inputs, SETTINGS.model_copy(update={"autocast": "bfloat16"}))
    assert asked == [("cuda", torch.bfloat16)]


class Expert:
    """As much of a model as `draw_sigma` asks of one."""

    def __init__(self, *served: float) -> None:
        self.served_sigmas = served

    def training_sigmas(self, uniform_B: Tensor, shape: tuple[int, ...]) -> Tensor:
        return uniform_B * shape[0]


def levels(model: Any, **changes: object) -> Tensor:
    nothing = np.zeros(1)
    example = Example("id", "prompt", Path("file"), ("a", "b"), nothing, nothing, 0, 0.0, Shape(9, 48, 48), nothing)
    slots = [Slot(0, example, (3, str(number)), None) for number in range(200)]
    return draw_sigma(slots, (4, 1, 1, 1), SETTINGS.model_copy(update=changes), model)


def test_noise_levels_stay_where_the_trained_expert_works() -> None:
    everywhere, low = levels(Expert(0.0, 2.0)), levels(Expert(0.2, 0.6))
    assert 0.1 < ((everywhere >= 0.2) & (everywhere < 0.6)).float().mean() < 0.9
    assert ((low >= 0.2) & (low < 0.6)).all()
    assert torch.equal(everywhere.argsort(), low.argsort())  # the same draws, squeezed


def test_noise_levels_that_no_draw_reaches_are_a_clear_error() -> None:
    with pytest.raises(UserError, match=r"hardly ever draw a noise level from 0.875 to 1, .* --timesteps model"):
        levels(Expert(0.875, float("inf")), timestep_mean=-3.0, timestep_std=0.2, timestep_shift=1.0)


def test_noise_levels_as_the_family_draws_them() -> None:
    drawn = levels(Expert(0.0, 1.0), timesteps="model")
    assert drawn.min() > 0 and 3.5 < drawn.max() < 4 and 1.7 < drawn.mean() < 2.3  # uniform, times the channels
