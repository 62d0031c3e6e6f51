"""Runs: every method end to end, and what stopping, damage, a full disk or changed settings do to one."""

import errno
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.lora import adapter_on
from densedpo.store.project import Project
from densedpo.training import TrainSettings, checkpoint
from densedpo.training.loop import train
from densedpo.training.processes import Processes
from forked import Forked, densedpo, lines_in
from small_projects import empty_project, give_labels, log_of, model_at, plant_pair

ADAPTER = "adapter/pytorch_lora_weights.safetensors"
SHORT = {"steps": 4, "rank": 2, "lr": 1e-3, "warmup": 2, "batch": 3, "save_every": 2}
LONG = SHORT | {"steps": 40, "save_every": 4}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = empty_project(tmp_path_factory.mktemp("runs") / "project", random_wan_folder)
    for mode in ("guided", "independent"):
        for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
            give_labels(project, plant_pair(project, number, mode), first, second, whole=second or first)
    return project


def run(project: Project, name: str, **changes: Any) -> Path:
    settings = TrainSettings(**{**SHORT, **changes})
    return train(project, model_at(Path(project.settings.model)), settings, name).run


def adapter_of(folder: Path) -> dict[str, bytes | str]:
    """Every bit of an adapter's weights, and what its header says; the header's own order is left to chance."""
    with safe_open(folder / ADAPTER, framework="pt") as file:
        weights = {name: file.get_tensor(name).numpy().tobytes() for name in sorted(file.keys())}
        return weights | dict(file.metadata())


METHODS = [("dense", "frame"), ("dense", "segment"), ("dense", "video"), ("structural", "frame"), ("vanilla", "frame")]


@pytest.mark.parametrize(("method", "reduction"), METHODS)
def test_every_method_trains_an_adapter_that_changes_the_model(
    project: Project, random_wan_folder: Path, method: str, reduction: str
) -> None:
    folder = run(project, f"{method}-{reduction}", method=method, reduction=reduction, steps=6, batch=4, warmup=0)
    losses = [row["loss"] for row in log_of(folder)]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert min(losses[3:]) < math.log(2) - 1e-4
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["status"], facts["method"], facts["pairs"]) == ("done", method, 4)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-000004", "step-000006"]
    model = model_at(random_wan_folder)
    with safe_open(folder / ADAPTER, framework="pt") as file:
        assert file.metadata()["densedpo_method"] == method
        assert file.metadata()["densedpo_base_model_hash"] == model.model_hash
    noisy, text = torch.ones(1, 8, 3, 6, 6), model.encode_text(["a red circle moves left"])
    base = model.predict(noisy, torch.ones(1), text)
    with adapter_on(model.denoiser, folder / "adapter"):
        assert (model.predict(noisy, torch.ones(1), text) - base).abs().max() > 1e-6
    assert torch.equal(model.predict(noisy, torch.ones(1), text), base)


def test_a_run_killed_in_the_middle_ends_bit_for_bit_as_one_left_alone(project: Project) -> None:
    flags = [word for key, value in LONG.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words = ("train", str(project.root), "--name", "killed", *flags)
    log = project.root / "runs" / "killed" / "log.jsonl"
    process = Forked(densedpo, *words, said=project.root.with_suffix(".said"), deadly=(lines_in, (log, 6)))
    assert process.wait() == -signal.SIGKILL, process.said
    done = len(log.read_bytes().splitlines())
    assert 6 <= done < 40
    assert not (project.root / "runs" / "killed" / ADAPTER).exists()

    killed, whole = run(project, "killed", **LONG), run(project, "whole", **LONG)
    assert [row["step"] for row in log_of(killed)] == [*range(1, 41)]
    assert log_of(killed) == log_of(whole)
    assert adapter_of(killed) == adapter_of(whole)


def test_a_finished_run_started_again_changes_nothing(project: Project) -> None:
    folder = run(project, "again")
    before, log = adapter_of(folder), (folder / "log.jsonl").read_text()
    assert run(project, "again") == folder
    assert (adapter_of(folder), (folder / "log.jsonl").read_text()) == (before, log)


@pytest.mark.parametrize("damage", ["cut off", "one bit"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    project: Project, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(project, f"damaged-{damage[0]}")
    before, log = adapter_of(folder), log_of(folder)
    newest = checkpoint.folder_of(folder, 4) / checkpoint.STATE
    content = bytearray(newest.read_bytes())
    tensor = content.find(torch.load(newest)["adapter"]["blocks.0.attn1.to_q.lora_B.weight"].numpy().tobytes())
    assert tensor > 0
    content[tensor + 5] ^= 1
    newest.write_bytes(content[: len(content) // 2] if damage == "cut off" else content)
    run(project, f"damaged-{damage[0]}")
    assert "step-000004/state.pt is damaged" in capsys.readouterr().err
    assert adapter_of(folder) == before
    assert log_of(folder) == log


def test_after_falling_back_the_new_checkpoints_are_kept_and_not_the_damaged_later_ones(tmp_path: Path) -> None:
    for step in (1, 8, 9):
        checkpoint.save(tmp_path, step, {"step": step}, keep=3)
    for step in (8, 9):
        (checkpoint.folder_of(tmp_path, step) / checkpoint.STATE).write_bytes(b"damaged")
    checkpoint.save(tmp_path, 2, {"step": 2}, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert checkpoint.load_newest(tmp_path) == {"step": 2}


def test_a_checkpoint_of_another_device_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of the second GPU where there is one, or none: torch would put each tensor where it was."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:1")
        checkpoint.save(tmp_path, 1, {"moment": torch.arange(3.0)}, keep=1)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(checkpoint.folder_of(tmp_path, 1) / checkpoint.STATE)
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    assert torch.equal(state["moment"], torch.arange(3.0))


def test_processes_that_would_go_on_from_different_steps_are_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(project, "together")
    monkeypatch.setattr(Processes, "gather", lambda self, value: [value, 0])
    with pytest.raises(UserError, match=r"different steps \(4, 0, by rank\): put .*together on a disk"):
        run(project, "together")


def test_a_disk_that_fills_up_while_saving_leaves_the_older_checkpoint(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = torch.save, []

    def full(state: object, path: Path) -> None:
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(b"as far as it went")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(state, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"the disk is full, so .*step-000004/state\.pt was not written"):
        run(project, "full")
    monkeypatch.undo()
    folder = project.run_folder("full")
    state = checkpoint.load_newest(folder)
    assert state is not None
    assert state["step"] == 2
    assert [path.name for path in folder.glob("checkpoints/*/*")] == [checkpoint.STATE]
    assert json.loads((folder / "run.json").read_text())["status"] == "begun"
    run(project, "full")
    assert adapter_of(folder) == adapter_of(run(project, "not-full"))


def test_another_run_under_the_same_name_is_refused(project: Project) -> None:
    run(project, "named")
    with pytest.raises(UserError) as raised:
        run(project, "named", beta=30.0, steps=3)
    message = str(raised.value)
    assert "beta (500.0 then, 30.0 now)" in message
    assert "steps (4 then, 3 now)" in message
    assert message.endswith("choose another --name, or delete that folder")


def test_a_run_may_be_made_longer(project: Project) -> None:
    run(project, "longer", steps=3)
    assert adapter_of(run(project, "longer", steps=6, save_every=1)) == adapter_of(run(project, "long", steps=6))
    assert log_of(project.run_folder("longer")) == log_of(project.run_folder("long"))


def test_a_run_goes_on_with_what_saves_memory_or_time(project: Project) -> None:
    """As the message of a run out of memory advises."""
    whole = run(project, "saving-whole", steps=6)
    run(project, "saving", steps=3)
    folder = run(project, "saving", steps=6, micro_batch=1, two_pass=True, checkpointing=True)
    losses = [[row["loss"] for row in log_of(each)] for each in (folder, whole)]
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_model_in_float16_is_not_trained(project: Project, random_wan_folder: Path) -> None:
    model = load_model(str(random_wan_folder), device="cpu", dtype=torch.float16)
    with pytest.raises(UserError, match="most gradients vanish: train with --dtype bfloat16 or float32"):
        train(project, model, TrainSettings(**SHORT), "half")
    assert not (project.root / "runs" / "half" / "run.json").exists()


def test_new_labels_need_a_new_name(random_wan_folder: Path, tmp_path: Path) -> None:
    project = empty_project(tmp_path / "project", random_wan_folder)
    pair = plant_pair(project, 0)
    give_labels(project, pair, "a")
    run(project, "dense", steps=1)
    give_labels(project, pair, "", "b")
    with pytest.raises(UserError, match="was begun differently: dataset; choose another --name"):
        run(project, "dense", steps=1)
    run(project, "dense-2", steps=1)


def test_latents_of_another_autoencoder_are_refused(random_wan_folder: Path, tmp_path: Path) -> None:
    project = empty_project(tmp_path / "project", random_wan_folder)
    give_labels(project, plant_pair(project, 0, vae_hash="another"), "a")
    with pytest.raises(UserError, match=r"latents of 1 pairs in .* by another autoencoder .*\(with --tiled-vae"):
        run(project, "dense", steps=1)
    assert not (project.root / "runs" / "dense" / "run.json").exists()


def test_only_one_process_trains_a_run(project: Project) -> None:
    with project.lock("train-busy"), pytest.raises(UserError, match="train-busy is already running"):
        run(project, "busy")


def test_a_run_is_not_continued_in_another_precision(random_wan_folder: Path, tmp_path: Path) -> None:
    project = empty_project(tmp_path / "project", random_wan_folder)
    give_labels(project, plant_pair(project, 0), "a")
    run(project, "dense", steps=1)
    described = project.run_folder("dense") / "run.json"
    described.write_text(described.read_text().replace('"dtype": "float32"', '"dtype": "bfloat16"'))
    with pytest.raises(UserError, match="was begun differently: dtype; choose another --name"):
        run(project, "dense", steps=1)
