"""Two real processes that share one model's weights, or each video, end where one process ends; also after a kill."""

import dataclasses
import json
import random
import shutil
import signal
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from several_runs import train_runs

from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models.encoded import save_tensors
from densedpo.store.project import Project
from densedpo.store.schema import Pair
from densedpo.training import TrainSettings
from densedpo.training.blocks import repeated_blocks, share_videos, spread
from densedpo.training.loop import train
from densedpo.training.precompute import precompute
from forked import Forked, Moment, lines_in
from small_projects import empty_project, give_labels, log_of, model_at, plant_pair

ADAPTER = "adapter/pytorch_lora_weights.safetensors"
SETTINGS: dict[str, Any] = {
    "steps": 4, "rank": 2, "lr": 3e-3, "warmup": 0, "batch": 3, "save_every": 2, "beta": 20.0, "validate_every": 2,
}  # fmt: skip
SHARDED: dict[str, Any] = {"sharding": "full"}
LONG: dict[str, Any] = {**SETTINGS, **SHARDED, "steps": 24, "save_every": 4, "reference_draws": 3}
CHOICES = [("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]
Run = tuple[Project, str, dict[str, Any]]


class Finished(NamedTuple):
    """Projects after everything that the tests below look at."""

    narrow: Project
    wide: Project
    killed: Project
    whole: Project
    killed_after: int


def started(runs: list[Run], deadly: Moment | None = None) -> list[Forked]:
    """Two processes that train these runs together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = [(str(project.root), name, settings) for project, name, settings in runs]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Forked(
            train_runs,
            told,
            rank,
            said=runs[0][0].root / f"said-{rank}",
            environment=shared | {"RANK": rank, "LOCAL_RANK": rank},
            deadly=deadly,
        )
        for rank in "01"
    ]


def in_two_processes(runs: list[Run]) -> None:
    processes = started(runs)
    ends = [process.wait() for process in processes]
    assert ends == [0, 0], [process.said for process in processes]


def killed_in_two_processes(run: Run, after: int) -> int:
    """Begin this run; both processes die once it has made so many steps. Returns how many it had made."""
    log = run[0].root / "runs" / run[1] / "log.jsonl"
    processes = started([run], (lines_in, (log, after)))
    ends = [process.wait() for process in processes]
    assert ends == [-signal.SIGKILL] * 2, [process.said for process in processes]
    return len(log.read_bytes().splitlines())


def a_project(root: Path, model: Path) -> Project:
    project = empty_project(root, model)
    for number, (first, second) in enumerate(CHOICES):
        give_labels(project, plant_pair(project, number), first, second)
    for number in (4, 5, 6):
        give_labels(project, plant_pair(project, number, split="validation"), "a", "b")
    return project


def a_wide_project(root: Path, model: Path) -> Project:
    """One of 64x48, so that its 3x3x4 tokens can be divided by two."""
    project, mould = empty_project(root, model, width=64), empty_project(root / "mould", model)
    for number, (first, second) in enumerate(CHOICES):
        file = project.cache_folder("planting") / "pair.safetensors"
        save_tensors(file, {side: noise((8, 3, 6, 8), "wide", number, side) for side in "ab"})
        pair: Pair = plant_pair(mould, number)
        pair = dataclasses.replace(pair, width=64, latents=project.adopt(file, "latents"))
        project.add_pairs([pair])
        give_labels(project, pair, first, second)
    return project


@pytest.fixture(scope="module")
def finished(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("shared")
    patch = pytest.MonkeyPatch()
    patch.setenv("DENSEDPO_QUIET", "1")
    model = model_at(random_wan_folder)
    narrow, wide = a_project(root / "narrow", random_wan_folder), a_wide_project(root / "wide", random_wan_folder)
    killed, whole = (Project.open(shutil.copytree(narrow.root, root / name)) for name in ("killed", "whole"))
    no_validation = {**SETTINGS, "validate_every": None}
    train(narrow, model, TrainSettings(**SETTINGS), "one")
    train(narrow, model, TrainSettings(**{**SETTINGS, "steps": 2}), "one-then-two")
    train(wide, model, TrainSettings(**no_validation), "one")
    after = random.SystemRandom().randint(5, 15)
    done = killed_in_two_processes((killed, "long", LONG), after)
    in_two_processes(
        [
            (killed, "long", LONG),
            (whole, "long", LONG),
            (narrow, "sharded", SETTINGS | SHARDED),
            (narrow, "one-pair-at-a-time", SETTINGS | SHARDED | {"micro_batch": 1, "two_pass": True}),
            (narrow, "one-then-two", SETTINGS | SHARDED),
            (narrow, "two-then-one", SETTINGS | SHARDED | {"steps": 2}),
            (wide, "shared-videos", no_validation | {"context_parallel": True}),
            (wide, "shared-both", no_validation | SHARDED | {"context_parallel": True, "checkpointing": True}),
        ]
    )
    train(narrow, model, TrainSettings(**SETTINGS), "two-then-one")
    patch.undo()
    return Finished(narrow, wide, killed, whole, done)


def check_same(project: Project, name: str) -> None:
    """The run `name` is the run `one`, up to rounding."""
    rows = [log_of(project.root / "runs" / each) for each in (name, "one")]
    for mine, theirs in zip(*rows, strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"by_sigma", "alarms"}:
            assert mine[key] == pytest.approx(theirs[key], rel=1e-5, abs=1e-5), key
    weights, expected = (load_file(project.root / "runs" / each / ADAPTER) for each in (name, "one"))
    assert weights.keys() == expected.keys()
    assert max((weights[key] - expected[key]).abs().max().item() for key in weights) < 1e-5


@pytest.mark.parametrize("name", ["sharded", "one-pair-at-a-time"])
def test_sharded_weights_train_as_whole_ones(finished: Finished, name: str) -> None:
    """Batches of three: with one pair at a time, the second process has fewer forwards of its own than the first."""
    check_same(finished.narrow, name)


@pytest.mark.parametrize("name", ["one-then-two", "two-then-one"])
def test_a_run_goes_on_with_weights_sharded_or_no_longer(finished: Finished, name: str) -> None:
    check_same(finished.narrow, name)


@pytest.mark.parametrize("name", ["shared-videos", "shared-both"])
def test_a_video_shared_by_two_processes_trains_as_in_one(finished: Finished, name: str) -> None:
    check_same(finished.wide, name)


@pytest.mark.parametrize(("name", "share"), [("sharded", 0.52), ("shared-both", 0.52), ("shared-videos", 1.0)])
def test_each_process_holds_half_of_sharded_weights(finished: Finished, name: str, share: float) -> None:
    project = finished.wide if name.startswith("shared-") else finished.narrow
    for rank in "01":
        held = json.loads((project.root / "runs" / name / f"held-{rank}.json").read_text())
        assert held["held"] / held["whole"] == pytest.approx(share, abs=0.02)


def test_sharded_runs_that_are_killed_end_bit_for_bit_as_one_left_alone(finished: Finished) -> None:
    """With a table that each of the two projects filled for itself."""
    assert finished.killed_after < LONG["steps"]
    assert log_of(finished.killed.root / "runs/long") == log_of(finished.whole.root / "runs/long"), (
        finished.killed_after
    )
    killed, whole = (load_file(each.root / "runs" / "long" / ADAPTER) for each in (finished.killed, finished.whole))
    assert all(torch.equal(killed[name], whole[name]) for name in whole), finished.killed_after


def test_all_of_a_denoisers_work_is_in_its_blocks(random_wan_folder: Path) -> None:
    model = model_at(random_wan_folder)
    blocks = repeated_blocks(model.denoiser)
    assert [type(block).__name__ for block in blocks] == ["WanTransformerBlock"] * 2
    inside = sum(p.numel() for block in blocks for p in block.parameters())
    assert inside > 0.5 * sum(p.numel() for p in model.denoiser.parameters())


def test_what_cannot_be_shared_is_refused(random_wan_folder: Path, tmp_path: Path) -> None:
    denoiser = model_at(random_wan_folder).denoiser
    with pytest.raises(UserError, match="divides 2 attention heads, which 3 processes cannot"):
        share_videos(denoiser, 3, (8, 3, 6, 8))
    with pytest.raises(UserError, match="divides 27 tokens a video, which 2 processes cannot"):
        share_videos(denoiser, 2, (8, 3, 6, 6))
    with pytest.raises(UserError, match="diffusers has no plan for Linear: leave --context-parallel out"):
        share_videos(torch.nn.Linear(2, 2), 2, (8, 3, 6, 6))
    quantised = torch.nn.Linear(2, 2).requires_grad_(False)
    quantised.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UserError, match="is for plain weights, which weight is not: leave out --quantise"):
        spread(quantised, torch.device("cpu"), 2)
    offloaded = torch.nn.Linear(2, 2)
    offloaded._hf_hook = object()  # type: ignore[assignment]
    with pytest.raises(UserError, match="--sharding full and --offload cannot be combined"):
        spread(offloaded, torch.device("cpu"), 2)
    with pytest.raises(ValueError, match="context_parallel and reference_draws cannot be combined"):
        TrainSettings(context_parallel=True, reference_draws=2)
    project = empty_project(tmp_path / "project", random_wan_folder)
    with pytest.raises(UserError, match="leave out --sharding and --context-parallel, and start it once a GPU"):
        precompute(project, model_at(random_wan_folder), TrainSettings(reference_draws=2, sharding="full"))
