"""The demo, small: the same figures whether it ran through or was killed on the way."""

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from densedpo import cli
from densedpo.demo import Size, commands, run_demo
from densedpo.training import TrainSettings
from forked import Forked, any_of

SMALL = Size(clips=12, train=TrainSettings(steps=6, batch=4, save_every=2), prompts=4, seeds_per_prompt=1)


def figures(out: Path) -> dict[str, Any]:
    """summary.json without what differs from run to run: durations."""
    summary: dict[str, Any] = json.loads((out / "report" / "summary.json").read_text())
    del summary["seconds"]
    summary["training"] = {k: v for k, v in summary["training"].items() if not k.startswith("seconds")}
    return summary


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    run_demo(out, SMALL, print)
    return out


def test_the_reports_commands_parse_and_have_the_demos_settings(whole: Path) -> None:
    shown = commands(SMALL)
    for line in shown:
        cli.app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert f"densedpo train my-project --steps 6 --lr {SMALL.train.lr} --anchor 0" in shown
    page = (whole / "report" / "index.html").read_text()
    assert all(line in page for line in shown)


def test_summary_holds_what_is_promised(whole: Path) -> None:
    summary = json.loads((whole / "report" / "summary.json").read_text())
    for contestant in ("base", "dense"):
        for metric in ("visual_quality", "text_alignment", "temporal_consistency", "dynamic_degree"):
            entry = summary["contestants"][contestant][metric]
            assert entry["low"] <= entry["mean"] <= entry["high"]
            assert entry["n"] == 4
    difference = summary["contestants"]["dense"]["visual_quality"]["difference"]
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert summary["pairs"] > 0
    assert summary["labelled_segments"] > 0
    assert 0 <= summary["nontie_segment_share"] <= 1
    assert 0 <= summary["mixed_pair_share"] <= 1
    assert summary["training"]["steps"] == 6
    assert {"pairs", "label", "train", "evaluate"} <= set(summary["seconds"])
    assert {"torch", "diffusers", "densedpo"} <= set(summary["versions"])
    assert (whole / "report" / "index.html").exists()


def test_killed_three_times_it_ends_with_the_same_figures(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    runs = out / "project" / "runs"
    for folder, pattern in (
        (out / "project" / "latents", "*/*.safetensors"),  # while pairs are made
        (runs / "dense" / "checkpoints", "step-*/state.pt"),  # while training
        (runs / "evaluation" / "clips" / "base", "*.mp4"),  # while evaluating
    ):
        assert not any_of(folder, pattern)
        assert demo_in_a_process(out, deadly=(any_of, (folder, pattern))) == -signal.SIGKILL
    assert demo_in_a_process(out) == 0
    assert figures(out) == figures(whole)


def demo_in_a_process(out: Path, **how: Any) -> int:
    process = Forked(run_demo, out, SMALL, print, said=out.with_suffix(".said"), **how)
    return process.wait()


def test_run_again_it_changes_nothing(whole: Path) -> None:
    before = figures(whole)
    run_demo(whole, SMALL, print)
    assert figures(whole) == before
