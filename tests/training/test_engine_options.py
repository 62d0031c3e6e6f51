"""Options that must not change a step (table, two passes, checkpointing, ...), and those that must."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.lora import ADAPTER, REFERENCE, fresh_adapter, load_reference, start_from
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.data import load_batch, slots_of
from densedpo.training.errors import residual
from densedpo.training.loop import train
from densedpo.training.precompute import precompute
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable, reference_errors
from densedpo.training.selection import load_dataset
from densedpo.training.step import Engine, accumulate
from small_projects import empty_project, give_labels, log_of, model_at, plant_pair, project_with_clips, weights_of

ALONE = Processes(torch.device("cpu"))
SHORT: dict[str, Any] = {"steps": 4, "rank": 2, "lr": 3e-3, "warmup": 0, "batch": 3, "save_every": 2, "beta": 2000.0}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = project_with_clips(tmp_path_factory.mktemp("engine") / "project", random_wan_folder)
    for mode in ("guided", "independent"):
        for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
            give_labels(project, plant_pair(project, number, mode), first, second, whole=second or first)
    for number in (4, 5):
        give_labels(project, plant_pair(project, number, split="validation"), "a", "b")
    return project


def run(project: Project, name: str, **changes: Any) -> Path:
    return train(project, model_at(Path(project.settings.model)), TrainSettings(**{**SHORT, **changes}), name).run


def gradients(project: Project, table: bool = False, **changes: Any) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the first step of an adapter that already does something."""
    model, settings = model_at(Path(project.settings.model)), TrainSettings(**{**SHORT, **changes})
    data = load_dataset(project, model, settings)
    with fresh_adapter(model.denoiser, model.lora_targets, 2, 2.0, seed=0):
        generator = torch.Generator().manual_seed(1)
        trained = {n: p for n, p in model.denoiser.named_parameters() if p.requires_grad}
        for name, parameter in trained.items():
            if "lora_B" in name:
                parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
        kept = ReferenceTable(project, model, settings) if table else None
        engine = Engine(project, model, settings, kept, ALONE)
        loss, _ = accumulate(engine, engine.load(slots_of(data, 0, settings)))
        return loss, {n: p.grad.clone() for n, p in trained.items() if p.grad is not None}


def check_same(
    one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]], bound: float = 1e-5
) -> None:
    assert one[0] == pytest.approx(other[0], rel=bound)
    largest = max(gradient.abs().max().item() for gradient in one[1].values())
    assert largest > 0
    assert one[1].keys() == other[1].keys()
    assert max((one[1][n] - other[1][n]).abs().max().item() for n in one[1]) < bound * largest


OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"reduction": "segment"},
    {"reduction": "video"},
    {"method": "structural"},
    {"method": "structural", "video_labels": "majority"},
    {"method": "vanilla"},
    {"method": "sft"},
    {"method": "sft", "sft_on": "winners"},
    {"loss": "ipo"},
    {"label_smoothing": 0.1},
    {"safeguard": 0.8},
    {"safeguard": 0.5, "anchor": 0.2, "reduction": "segment"},
    {"anchor": 0.5},
    {"similar_below": 1.0},
    {"shared_noise": False},
    {"stratified": True},
    {"sigma_weight": "sigma"},
    {"sigma_low": 0.3, "sigma_high": 0.7},
    {"timesteps": "model"},
    {"beta": 1.0, "beta_unit": "sum"},
    {"confidence_weights": True},
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: "-".join(map(str, each.values())) or "default")
def test_every_objective_trains_and_two_passes_are_one(project: Project, objective: dict[str, Any]) -> None:
    check_same(gradients(project, **objective), gradients(project, two_pass=True, **objective))
    name = "run-" + "-".join(f"{k}-{v}" for k, v in objective.items())
    folder = run(project, name, **objective)
    assert all(math.isfinite(row["loss"]) for row in log_of(folder))
    assert max(w.abs().max().item() for n, w in weights_of(folder).items() if "lora_B" in n) > 1e-4


@pytest.mark.parametrize("micro_batch", [1, 2])
@pytest.mark.parametrize("objective", [{}, {"reduction": "segment", "anchor": 0.2}, {"sigma_weight": "sigma"}])
def test_micro_batches_add_up_to_the_batch(project: Project, objective: dict[str, Any], micro_batch: int) -> None:
    """Pairs weigh differently here, so a mean of the micro-batches' means would be another gradient.

    At a small beta: another batch size rounds errors otherwise, and k = 1000 would make 1e-4 of 1e-7.
    """
    common = {"beta": 20.0, **objective}
    check_same(gradients(project, **common), gradients(project, micro_batch=micro_batch, **common))


def test_each_option_changes_the_step(project: Project) -> None:
    """An option that did nothing would pass the test above."""
    plain = gradients(project)[1]
    for objective in OBJECTIVES[8:-1]:
        other = gradients(project, **objective)[1]
        assert max((plain[n] - other[n]).abs().max().item() for n in plain) > 1e-6, objective


@pytest.mark.parametrize("objective", [{}, {"method": "structural"}, {"safeguard": 0.2}, {"similar_below": 1.0}])
def test_the_reference_table_gives_the_same_step(project: Project, objective: dict[str, Any]) -> None:
    fixed = {"reference_draws": 2, "seed": 3, **objective}
    without = gradients(project, **fixed)
    check_same(without, gradients(project, table=True, **fixed))  # computes its entries
    check_same(without, gradients(project, table=True, **fixed))  # reads them


def test_with_the_table_the_reference_runs_once_a_draw(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 pairs, 2 draws each: 8 entries. 8 steps of 3 use 24; a second run of the sweep computes none."""
    videos = []
    real = reference_errors
    monkeypatch.setattr(
        "densedpo.training.reference.reference_errors",
        lambda model, inputs, settings: videos.append(len(inputs.sigma_N)) or real(model, inputs, settings),
    )
    settings = TrainSettings(**{**SHORT, "steps": 8, "reference_draws": 2, "seed": 5})
    model = model_at(Path(project.settings.model))
    report = train(project, model, settings, "table-first")
    assert (report.reference_forwards, report.reference_forwards_saved) == (8, 16)
    assert sum(videos) == 16  # two members each; a fresh table has no entry to check
    del videos[:]
    second = train(project, model, settings.model_copy(update={"beta": 100.0}), "table-second")
    assert (second.reference_forwards, second.reference_forwards_saved) == (0, 24)
    assert sum(videos) == 6  # the check at the start: the three pairs of the first batch
    assert log_of(second.run)[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)


def test_a_table_computed_ahead_in_parts_is_whole(project: Project) -> None:
    settings = TrainSettings(**{**SHORT, "reference_draws": 3, "seed": 7, "stratified": True})
    model = model_at(Path(project.settings.model))
    assert [precompute(project, model, settings, part, 2) for part in (1, 2)] == [(6, 6), (6, 6)]
    assert precompute(project, model, settings) == (0, 12)
    report = train(project, model, settings, "table-ahead")
    assert (report.reference_forwards, report.reference_forwards_saved) == (0, 12)
    with pytest.raises(UserError, match="there is no part 3 of 2"):
        precompute(project, model, settings, 3, 2)
    with pytest.raises(UserError, match="needs fixed draws"):
        precompute(project, model, TrainSettings())


def test_a_table_that_no_longer_fits_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"reference_draws": 1, "seed": 6}
    run(project, "drift-1", **options)
    real = reference_errors
    monkeypatch.setattr(
        "densedpo.training.reference.reference_errors", lambda *args: real(*args) + 2e-5
    )  # 1000 * 2e-5 > 0.01
    with pytest.raises(
        UserError, match=r"\.db no longer says what the reference says: .* by 0.02 \(at most 0.01\); delete"
    ):
        run(project, "drift-2", **options)


def test_what_is_kept_for_the_backward_pass_halves_in_two_passes(project: Project) -> None:
    """Bytes kept for backward at once, by saved-tensor hooks; weights and what is shared count in both."""

    def most_kept(**changes: Any) -> int:
        kept = peak = 0

        class Holder:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal kept, peak
                self.tensor = tensor
                self.size = 0 if isinstance(tensor, torch.nn.Parameter) else tensor.nbytes
                kept += self.size
                peak = max(peak, kept)

            def __del__(self) -> None:
                nonlocal kept
                kept -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Holder, lambda holder: holder.tensor):
            gradients(project, **changes)
        return peak

    assert most_kept(two_pass=True) / most_kept() < 0.6


def test_checkpointing_changes_nothing_but_memory(project: Project) -> None:
    plain, other = run(project, "plain"), run(project, "checkpointing", checkpointing=True)
    for name, weight in weights_of(plain).items():
        assert torch.equal(weight, weights_of(other)[name])


def test_autocast_is_near_and_not_the_same(project: Project) -> None:
    loss, _ = gradients(project, beta=100.0)
    rounded, _ = gradients(project, beta=100.0, autocast="bfloat16")
    assert loss != rounded
    assert rounded == pytest.approx(loss, rel=0.05)


def test_similar_positions_count_in_no_error(project: Project) -> None:
    model, settings = model_at(Path(project.settings.model)), TrainSettings(**SHORT, similar_below=1.1)
    data = load_dataset(project, model, settings)
    batch = load_batch(slots_of(data, 0, settings))
    with fresh_adapter(model.denoiser, model.lora_targets, 2, 2.0, seed=0), torch.no_grad():
        engine = Engine(project, model, settings, None, ALONE)
        wrong = residual(model, engine.inputs(batch, engine.sigmas(batch)), settings)
    assert batch.b_BCFHW is not None
    alike = (batch.a_BCFHW - batch.b_BCFHW).abs().mean(dim=1) <= 1.1
    assert 0.2 < alike.float().mean() < 0.8
    for member in wrong.chunk(2):
        assert torch.equal((member == 0).all(dim=1), alike)


def test_starting_from_an_adapter_and_measuring_against_it(project: Project) -> None:
    """A second round: policy and reference both start as the first round's result, so the first loss is ln 2 again."""
    first = run(project, "round-1") / "adapter"
    second = run(project, "round-2", init_adapter=first, reference_adapter=first, steps=2)
    apart = run(project, "round-2-base", init_adapter=first, steps=2)
    assert log_of(second)[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert abs(log_of(apart)[0]["loss"] - math.log(2)) > 1e-3
    moved = {
        name: (weight - weights_of(second)[name]).abs().max().item()
        for name, weight in weights_of(first.parent).items()
    }
    assert 0 < max(moved.values()) < 0.1
    assert json.loads((second / "run.json").read_text())["init_adapter"]


def test_in_bfloat16_the_reference_is_as_exact_as_the_policy_that_starts_from_it(
    project: Project, random_wan_folder: Path
) -> None:
    first = run(project, "exact") / "adapter"
    model = load_model(str(random_wan_folder), device="cpu", dtype=torch.bfloat16)
    with fresh_adapter(model.denoiser, model.lora_targets, 2, 2.0, seed=0):
        start_from(model.denoiser, first)
        load_reference(model.denoiser, first)
        weights = dict(model.denoiser.named_parameters())
        pairs = [(name.replace(f".{ADAPTER}.", f".{REFERENCE}."), name) for name in weights if f".{ADAPTER}." in name]
        assert pairs
        for reference, trained in pairs:
            assert torch.equal(weights[reference], weights[trained])


def test_an_adapter_to_start_from_must_fit(project: Project, tmp_path: Path) -> None:
    first = run(project, "fits") / "adapter"
    with pytest.raises(UserError, match="has rank 2 and alpha 2: train with --rank 2 --alpha 2"):
        run(project, "does-not-fit", init_adapter=first, rank=4)
    with pytest.raises(UserError, match="holds no adapter"):
        run(project, "none", init_adapter=tmp_path)


def test_validation_loss_is_that_of_held_out_pairs(project: Project) -> None:
    rows = log_of(run(project, "validated", validate_every=2))
    assert [step for step, row in enumerate(rows, 1) if "validation_loss" in row] == [2, 4]
    assert all(0 < row["validation_loss"] < 2 for row in rows[1::2])
    assert rows[1]["validation_loss"] != rows[3]["validation_loss"]
    plain = log_of(run(project, "not-validated"))
    assert [row["loss"] for row in plain] == [row["loss"] for row in rows]


def test_tensorboard_holds_the_log_also_after_a_restart(project: Project) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(project, "watched", steps=2)
    run(project, "watched", steps=4)
    losses: dict[int, float] = {}
    for file in sorted((folder / "tensorboard").rglob("events*")):
        reader = EventAccumulator(str(file))
        reader.Reload()
        losses |= {event.step: event.value for event in reader.Scalars("loss")}
    assert losses == {row["step"]: pytest.approx(row["loss"], rel=1e-6) for row in log_of(folder)}


def test_a_tracker_that_is_not_installed_is_a_clear_error(project: Project) -> None:
    with pytest.raises(UserError, match="--track wandb: it is not installed; pip install 'wandb', or leave it out"):
        run(project, "wandb", track=("wandb",))


def test_a_loss_that_is_no_number_stops_before_the_step(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(project, "broken", steps=2)
    monkeypatch.setattr(
        "densedpo.training.step.frame_errors", lambda wrong: wrong.square().mean(dim=(1, 3, 4)) * math.nan
    )
    with pytest.raises(UserError, match=r"step 3: the loss is nan .* this step was not taken"):
        run(project, "broken", steps=4)
    monkeypatch.undo()
    assert len(log_of(folder)) == 2
    assert weights_of(run(project, "broken", steps=4)).keys() == weights_of(folder).keys()
    whole = run(project, "unbroken", steps=4)
    assert all(torch.equal(weights_of(folder)[name], weight) for name, weight in weights_of(whole).items())


def test_the_log_tells_noise_levels_apart(project: Project) -> None:
    rows = log_of(run(project, "levels", steps=3))
    for row in rows:
        assert set(row["by_sigma"]) <= {"0.0", "0.2", "0.4", "0.6", "0.8"}
        assert sum(part["pairs"] for part in row["by_sigma"].values()) == 3
    assert {"accuracy", "pair_accuracy", "margin", "inside_median", "winner_delta", "loser_delta"} <= rows[0].keys()


def test_pairs_that_nobody_labelled_as_wholes_say_how_to_go_on(random_wan_folder: Path, tmp_path: Path) -> None:
    project = empty_project(tmp_path / "project", random_wan_folder)
    give_labels(project, plant_pair(project, 0), "a", "a")
    with pytest.raises(UserError, match=r"1 without a whole-video label; .*--video-labels majority"):
        run(project, "structural", method="structural")
    run(project, "voted", method="structural", video_labels="majority", steps=1)
