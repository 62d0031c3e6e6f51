"""Clips of several sizes and lengths in one run: right labels, right gradients, the same bits after a stop."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from densedpo.cli import run as command
from densedpo.ingest import IngestSettings, ingest
from densedpo.losses.common import LossOutput, PairErrors
from densedpo.models.lora import fresh_adapter
from densedpo.pairs import PairSettings
from densedpo.pairs.encode import encode
from densedpo.pairs.make import make_pairs
from densedpo.store.checks import validate
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.segments import segment_grid
from densedpo.store.shapes import Shape, like_batches, shape_of
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset, Slot, slots_of
from densedpo.training.loop import train
from densedpo.training.measurements import Measurements
from densedpo.training.precompute import precompute
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable
from densedpo.training.selection import load_dataset
from densedpo.training.step import Engine, accumulate, weight_of
from densedpo.video.io import read_video, write_video
from small_projects import SECONDS, empty_project, give_labels, log_of, model_at, plant_pair, weights_of

ALONE = Processes(torch.device("cpu"))
SQUARE, WIDE, LONG, TALL = Shape(9, 48, 48), Shape(9, 64, 48), Shape(17, 48, 48), Shape(17, 48, 64)
SHORT: dict[str, Any] = {"steps": 4, "rank": 2, "lr": 3e-3, "warmup": 0, "batch": 6, "save_every": 2, "beta": 20.0}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Eight pairs of four shapes; the long ones have four segments, the others two."""
    project = empty_project(tmp_path_factory.mktemp("shapes") / "project", random_wan_folder)
    for number, shape in enumerate([SQUARE, WIDE, LONG, TALL] * 2):
        pair = plant_pair(project, number, **shape._asdict())
        choices = ("a", "b", "tie", "b") if number < 4 else ("b", "b", "a", "a")
        give_labels(project, pair, *choices[: 4 if shape.frames == 17 else 2], whole="a" if number % 3 else "b")
    for number, shape in ((8, SQUARE), (9, TALL)):
        give_labels(project, plant_pair(project, number, split="validation", **shape._asdict()), "a", "b")
    return project


def loaded(project: Project, **changes: Any) -> Dataset:
    settings = TrainSettings(**{**SHORT, **changes})
    return load_dataset(project, model_at(Path(project.settings.model)), settings)


def engine_of(data: Dataset, table: bool = False, processes: Processes = ALONE) -> Engine:
    kept = ReferenceTable(data.project, data.model, data.settings) if table else None
    return Engine(data.project, data.model, data.settings, kept, processes)


def test_each_example_has_the_labels_of_its_own_segments(project: Project) -> None:
    data = loaded(project)
    assert data.counts == dict.fromkeys((SQUARE, WIDE, LONG, TALL), 2)
    pairs = {pair.id: pair for pair in project.pairs()}
    for example in data.examples(range(len(data))):
        pair = pairs[example.id]
        given = {label.segment: label.choice for label in project.labels(example.id) if label.segment is not None}
        grid = segment_grid(pair.frames, 8.0, SECONDS)
        assert example.shape == shape_of(pair)
        assert example.sign_S.tolist() == [{"a": 1, "b": -1, "tie": 0}[given[s.index]] for s in grid]
        assert example.frames_SF.shape == (len(grid), 1 + (pair.frames - 1) // 4)
        assert np.allclose(example.frames_SF.sum(axis=0), 1)


def test_batches_are_of_one_shape_cut_as_they_fill() -> None:
    items = [(shape, number) for number, shape in enumerate([WIDE, LONG, WIDE, WIDE, LONG, SQUARE, WIDE])]
    cut = like_batches(items, lambda item: item[0], 2)
    assert [[number for _, number in batch] for batch in cut] == [[0, 2], [1, 4], [3, 6], [5]]
    alike = [(SQUARE, number) for number in range(5)]
    assert [len(batch) for batch in like_batches(alike, lambda item: item[0], 2)] == [2, 2, 1]


def gradients(data: Dataset, slots: list[Slot], table: bool = False) -> tuple[float, float, dict[str, Tensor]]:
    """Loss, its divisor, and the gradients of an adapter that already does something."""
    model = data.model
    with fresh_adapter(model.denoiser, model.lora_targets, 2, 2.0, seed=0):
        generator = torch.Generator().manual_seed(1)
        trained = {n: p for n, p in model.denoiser.named_parameters() if p.requires_grad}
        for name, parameter in trained.items():
            if "lora_B" in name:
                parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
        engine = engine_of(data, table)
        batches = engine.load(slots)
        weight = weight_of(engine, batches, [engine.sigmas(batch) for batch in batches])
        loss, _ = accumulate(engine, batches)
        return loss, weight, {n: p.grad.clone() for n, p in trained.items() if p.grad is not None}


def check_same(one: tuple[float, float, dict[str, Tensor]], other: tuple[float, float, dict[str, Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1] == pytest.approx(other[1], rel=1e-6)
    largest = max(gradient.abs().max().item() for gradient in one[2].values())
    assert largest > 0
    assert one[2].keys() == other[2].keys()
    assert max((one[2][n] - other[2][n]).abs().max().item() for n in one[2]) < 1e-5 * largest


@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"reduction": "segment", "micro_batch": 1},
        {"method": "structural", "two_pass": True},
        {"beta": 0.02, "beta_unit": "sum"},
        {"method": "sft", "sft_on": "winners"},
    ],
    ids=str,
)
def test_a_mixed_batch_is_the_mean_of_its_pairs_by_weight(project: Project, objective: dict[str, Any]) -> None:
    data = loaded(project, **objective)
    slots = slots_of(data, 0, data.settings)
    assert len({slot.example.shape for slot in slots}) > 2
    alone = [gradients(data, [slot]) for slot in slots]
    whole = sum(weight for _, weight, _ in alone)
    joined = {
        name: torch.stack([weight / whole * each[name] for _, weight, each in alone if name in each]).sum(dim=0)
        for name in alone[0][2]
    }
    mean = sum(weight / whole * loss for loss, weight, _ in alone)
    check_same(gradients(data, slots), (mean, whole, joined))


@pytest.mark.parametrize("told", [{"padding_frames": 1}, {"given_frames": 1}], ids=str)
def test_beta_on_sums_leaves_out_frames_that_do_not_count(
    project: Project, told: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = loaded(project, beta=1.0, beta_unit="sum", method="structural")
    engine = engine_of(data)
    batch = engine.load(slots_of(data, 0, data.settings))[0]
    frames = batch.a_BCFHW.shape[2]
    before, before_of_all = engine.beta_mean(batch), data.beta_mean
    for name, value in told.items():
        monkeypatch.setattr(data.model, name, value, raising=False)
    assert engine.beta_mean(batch) == before * (frames - 1) / frames
    assert data.beta_mean < before_of_all


def test_beta_on_sums_follows_the_size(project: Project) -> None:
    data = loaded(project, beta=1.0, beta_unit="sum")
    engine = engine_of(data)
    found = {
        batch.slots[0].example.shape: engine.beta_mean(batch) for batch in engine.load(slots_of(data, 0, data.settings))
    }
    elements = {SQUARE: 8 * 6 * 6, WIDE: 8 * 6 * 8, LONG: 8 * 6 * 6, TALL: 8 * 8 * 6}
    assert found.items() <= elements.items()
    assert data.beta_mean == (2 * 288 + 2 * 384) / 4
    assert loaded(project).beta_mean == 20.0


def test_the_reference_table_holds_pairs_of_all_shapes(project: Project) -> None:
    settings: dict[str, Any] = {"reference_draws": 2}
    data = loaded(project, **settings)
    assert precompute(project, data.model, data.settings) == (16, 16)
    assert precompute(project, data.model, data.settings) == (0, 16)
    slots = slots_of(data, 0, data.settings)
    check_same(gradients(data, slots), gradients(data, slots, table=True))


class Several(Processes):
    """One of two that share weights, of which nobody else is there: only what it decides is looked at."""

    def __init__(self, rank: int) -> None:
        super().__init__(torch.device("cpu"))
        self.count, self.rank, self.sharded = 2, rank, True


def test_processes_have_alike_work_and_as_many_forwards(project: Project) -> None:
    data = loaded(project, batch=8, micro_batch=1)
    slots = slots_of(data, 0, data.settings)
    shapes = [[b.slots[0].example.shape for b in engine_of(data, processes=Several(r)).load(slots)] for r in (0, 1)]
    assert shapes[0] == shapes[1] == sorted((SQUARE, WIDE, LONG, TALL))
    many = [slot for step in range(3) for slot in slots_of(data, step, data.settings)]
    square, tall = ([slot for slot in many if slot.example.shape == shape] for shape in (SQUARE, TALL))
    engines = [engine_of(loaded(project, micro_batch=4), processes=Several(rank)) for rank in (0, 1)]
    for chosen, forwards in ((square[:3] + tall[:1], 2), (tall[:2] + square[:1], 2), (square[:2], 1), (tall[:1], 1)):
        loads = [engine.load(chosen) for engine in engines]
        assert [len(load) for load in loads] == [forwards, forwards]
        taken = [slot.key for load in loads for batch in load if batch.counts for slot in batch.slots]
        assert sorted(taken) == sorted(slot.key for slot in chosen)


def test_what_a_step_saw_counts_only_what_is_there() -> None:
    """Three frames of a short pair, of which one is tied, and one of another: half of the three counted are right."""
    seen = Measurements()
    for inside in ([[2.0, -1.0, 9.0]], [[3.0]]):
        sign = torch.tensor([[1.0, 1.0, 0.0]][: len(inside)])[:, : len(inside[0])]
        nothing = torch.zeros_like(sign)
        output = LossOutput(torch.zeros(1), torch.ones(1), torch.tensor(inside), sign.abs())
        errors = PairErrors(torch.full_like(sign, -0.5), nothing, nothing, nothing)
        seen.add(errors, output, torch.tensor([0.5]), sign, sign.abs())
    found = seen.summary()
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["inside_median"] == pytest.approx(2.0)
    assert found["margin"] == pytest.approx(4 / 3)
    assert found["winner_delta"] == pytest.approx(-0.5)
    assert (found["pair_accuracy"], found["loser_dominated"]) == (1.0, 0.0)


@pytest.mark.parametrize("changes", [{}, {"reference_draws": 2, "micro_batch": 2}], ids=str)
def test_a_stopped_run_ends_bit_for_bit_as_one_left_alone(project: Project, changes: dict[str, Any]) -> None:
    model, name = model_at(Path(project.settings.model)), "-".join(changes) or "plain"
    settings = TrainSettings(**{**SHORT, **changes, "validate_every": 2})
    whole = train(project, model, settings, f"whole-{name}").run
    stopped = train(project, model, settings.model_copy(update={"steps": 2}), f"stopped-{name}").run
    train(project, model, settings, f"stopped-{name}")
    assert log_of(stopped) == log_of(whole)
    assert all(math.isfinite(row["loss"]) for row in log_of(whole))
    assert all(math.isfinite(row["validation_loss"]) for row in log_of(whole)[1::2])
    one, other = weights_of(whole), weights_of(stopped)
    assert max(weight.abs().max().item() for key, weight in one.items() if "lora_B" in key) > 1e-4
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_from_videos_of_two_sizes_and_two_lengths_to_an_adapter(
    random_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("densedpo.ingest.split_of", lambda digest: "train")
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, (height, width, count) in enumerate([(48, 64, 20), (64, 48, 20), (48, 64, 10), (64, 48, 10)]):
        frames = np.random.default_rng(number).integers(0, 256, (count, height, width, 3), np.uint8)
        write_video(folder / f"{number}.mp4", frames, 8)
    settings = ProjectSettings(model=str(random_wan_folder), frames=9, fps=8.0, segment_seconds=SECONDS)
    project, model = Project.create(tmp_path / "project", settings), model_at(random_wan_folder)
    asked = IngestSettings(sizes=("64x48", "48x64"), frames=(9, 17), caption="a red circle moves left")
    assert ingest(project, folder, asked).added == 4
    shapes = sorted(Shape(frames, *size) for frames in (9, 17) for size in ((64, 48), (48, 64)))
    assert sorted(map(shape_of, project.clips())) == shapes
    assert encode(project, model) == (4, 2)
    making = PairSettings(count=8, steps=2, batch=3)
    assert make_pairs(project, model, making).made == 8
    assert make_pairs(project, model, making).made == 0
    assert validate(project, deep=True) == []
    for pair in project.pairs():
        latents = load_file(project.latents_path(str(pair.latents)))
        assert tuple(latents["a"].shape) == model.latent_shape(pair.frames, pair.height, pair.width)
        assert read_video(project.media_path(pair.media_b))[0].shape == (pair.frames, pair.height, pair.width, 3)
        give_labels(project, pair, *["ab"[each.index % 2] for each in segment_grid(pair.frames, pair.fps, SECONDS)])
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a blue square moves down")
    run = train(project, model, TrainSettings(**SHORT, sample_every=4, sample_prompts=prompts), "mixed").run
    assert log_of(run)[0]["loss"] == pytest.approx(math.log(2), rel=1e-4)
    facts = json.loads((run / "run.json").read_text())["shapes"]
    assert sorted(Shape(each["frames"], each["width"], each["height"]) for each in facts) == shapes
    assert {each["count"] for each in facts} == {2}
    (sample,) = (run / "samples" / "step-000004").iterdir()
    assert read_video(sample)[0].shape == (9, 48, 48, 3)


def test_held_out_prompts_are_drawn_in_their_own_shape(project: Project) -> None:
    settings = TrainSettings(**{**SHORT, "steps": 1}, sample_every=1)
    run = train(project, model_at(Path(project.settings.model)), settings, "sampled").run
    drawn = [read_video(path)[0].shape for path in sorted((run / "samples" / "step-000001").iterdir())]
    held = [(pair.frames, pair.height, pair.width, 3) for pair in project.pairs("validation")]
    assert drawn == held
    assert len(set(drawn)) == 2


def test_dry_runs_say_how_many_there_are_of_each_shape(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", str(project.root), "--dry-run", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1] for line in lines if " pairs of " in line] == [
        f"2 pairs of {size}" for size in ("48x48, 9 frames", "64x48, 9 frames", "48x48, 17 frames", "48x64, 17 frames")
    ]
    assert sum(each["count"] for each in json.loads(lines[-1])["shapes"]) == 8
