"""The contract that every metric file found must keep."""

import math
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from planted import FPS, METRICS, frozen, shifting

import densedpo.metrics
from densedpo.errors import UserError
from densedpo.metrics import Asked, Footage, Metric, Need, Tools, UnmeasurableError, find_metrics, runnable
from densedpo.metrics.protocol import Aspect, Better
from densedpo.tinyworld.world import draw_scene, render

HELPERS = {"find", "flow", "footage", "networks", "protocol", "reward", "tools", "vbench"}
NAMES = list(METRICS)


@pytest.fixture(autouse=True)
def no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the caches of the machine that runs the tests is not theirs."""
    for variable in ("TORCH_HOME", "VBENCH_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "empty"))


def test_every_file_holds_metrics_or_is_a_known_helper() -> None:
    files = {found.name for found in pkgutil.iter_modules(densedpo.metrics.__path__)}
    holders = {type(metric).__module__.rsplit(".", 1)[1] for metric in METRICS.values()}
    assert len(METRICS) >= 16 and files == holders | HELPERS and not holders & HELPERS


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is(name: str) -> None:
    metric = METRICS[name]
    assert isinstance(metric, Metric) and metric.name == name and name.isidentifier()
    assert metric.title and metric.source and metric.blind_spot and type(metric).__doc__
    assert metric.better in get_args(Better) and metric.aspect in get_args(Aspect)
    assert metric.low < metric.high
    assert all(need.name and need.what for need in metric.needs)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_runs_or_says_how_to_enable_it(name: str) -> None:
    """Without weights: either a value in range, the same for the same frames, or a remedy; never an invented number."""
    metric, tools = METRICS[name], Tools()
    if metric.needs:
        reason = metric.why_not(tools, Asked())
        assert reason is not None and all(f"--weights {need.name}=PATH" in reason for need in metric.needs)
        return
    assert metric.why_not(tools, Asked()) is None
    scene = draw_scene(0, 0)
    clips = [render(scene), frozen(5, 48), shifting(4.0, 5, 48)]
    for frames in clips:
        before = frames.copy()
        clip = lambda: Footage((frames, FPS), scene.attributes.caption, *(Footage((f, FPS)) for f in (frames, frames)))  # noqa: B023, E731
        try:
            found = metric.measure(clip(), tools)
        except UnmeasurableError as error:
            assert str(error)
            continue
        assert isinstance(found, float) and math.isfinite(found) and metric.low <= found <= metric.high
        assert metric.measure(clip(), tools) == found
        assert np.array_equal(frames, before)


@pytest.mark.parametrize("name", [name for name in NAMES if not METRICS[name].needs])
def test_a_single_frame_is_a_value_in_range_or_refused(name: str) -> None:
    metric = METRICS[name]
    try:
        found = metric.measure(Footage((frozen(1), FPS), None), Tools())
    except UnmeasurableError:
        return
    assert metric.low <= found <= metric.high


def test_without_opencv_the_metrics_that_need_it_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cv2" else there(name))
    run, not_run = runnable(METRICS, None, Tools(), Asked())
    assert not_run["motion_strength"] == "needs OpenCV, install it with: pip install 'densedpo[eval]'"
    assert "temporal_flickering" in run and "motion_strength" not in run


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no metric beauty; the metrics are"):
        runnable(METRICS, ["beauty"], Tools(), Asked())
    with pytest.raises(UserError, match="no metric uses weights named dino; names are amt-s, "):
        runnable(METRICS, None, Tools({"dino": tmp_path}), Asked())
    with pytest.raises(UserError, match=r"--weights amt-s=.*absent: there is no such file or folder"):
        Tools({"amt-s": tmp_path / "absent"})


def test_weights_are_found_in_caches_and_a_given_place_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need("net", "a net", cached=(("torch", "net.pth"),))
    assert Tools().path(need) is None and Tools().digest(need) is None
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    cached = tmp_path / "hub" / "checkpoints" / "net.pth"
    cached.write_bytes(b"one")
    assert Tools().path(need) == cached
    given = tmp_path / "given.pth"
    given.write_bytes(b"two")
    assert Tools({"net": given}).path(need) == given
    assert Tools({"net": given}).digest(need) != Tools().digest(need)


def test_only_some_metrics_can_be_asked_for() -> None:
    run, not_run = runnable(find_metrics(), ["sharpness", "vbench_imaging_quality", "sharpness"], Tools(), Asked())
    assert list(run) == ["sharpness"] and list(not_run) == ["vbench_imaging_quality"]


def test_importing_and_finding_metrics_loads_neither_torch_nor_opencv() -> None:
    code = "import sys, densedpo.metrics as m; m.runnable(m.find_metrics(), None, m.Tools(), m.Asked()); "
    code += "assert not {'torch', 'cv2', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_clips_come_with_decides_too() -> None:
    _, not_run = runnable(METRICS, None, Tools(), Asked(["a dog"], references=False, partners=False))
    assert not_run["visual_quality"] == "only for captions of the tiny world, 'a dog' is none"
    assert not_run["reference_ssim"] == "needs guide clips, give them with --reference DIR"
    assert not_run["motion_similarity"] == "needs two contestants or more"
    _, not_run = runnable(METRICS, None, Tools(), Asked([None]))
    assert not_run["text_similarity"] == "needs captions, give them with --prompts FILE"
    run, _ = runnable(METRICS, None, Tools(), Asked(["a red star moves on a navy background"]))
    assert {"visual_quality", "reference_ssim", "motion_similarity"} <= set(run)
