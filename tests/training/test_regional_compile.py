"""Compiling the blocks changes nothing but speed."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from densedpo.training import TrainSettings
from densedpo.training.blocks import compiled, repeated_blocks
from densedpo.training.loop import train
from small_projects import empty_project, give_labels, model_at, plant_pair

SETTINGS: dict[str, Any] = {"steps": 4, "rank": 2, "lr": 3e-3, "warmup": 0, "batch": 3, "beta": 20.0}


@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself, of what it looks at
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_a_compiled_run_is_the_plain_one(
    random_wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The default, inductor, makes C++ of every block and takes a minute or more; aot_eager stops one step before."""
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend=backend))
    project, model = empty_project(tmp_path / "project", random_wan_folder), model_at(random_wan_folder)
    for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
        give_labels(project, plant_pair(project, number), first, second)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    runs = [train(project, model, TrainSettings(**SETTINGS, compile=on), f"{on}").run for on in (True, False)]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 2 <= graphs <= 4  # with and without adapter, for both blocks alike; nothing is compiled again later
    rows = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in runs]
    for mine, theirs in zip(*rows, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    mine, theirs = (load_file(run / "adapter/pytorch_lora_weights.safetensors") for run in runs)
    assert max((mine[name] - theirs[name]).abs().max().item() for name in theirs) < 1e-5


@pytest.mark.filterwarnings("ignore")  # as above
def test_blocks_are_plain_again_afterwards(random_wan_folder: Path) -> None:
    blocks = repeated_blocks(model_at(random_wan_folder).denoiser)
    with pytest.raises(KeyError), compiled(model_at(random_wan_folder).denoiser):
        assert all(block._compiled_call_impl is not None for block in blocks)
        raise KeyError
    assert all(block._compiled_call_impl is None for block in blocks)
