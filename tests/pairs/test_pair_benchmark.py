"""The benchmark of pair generation runs, and measures what it says."""

import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "pairs.py"
summary = runpy.run_path(str(BENCHMARK))["summary"]


def test_ratios_are_medians_over_rounds_and_shares_are_of_the_whole_stage() -> None:
    stages = [
        {"captions": 0.5, "encode": 1.0, "denoiser": 5.0, "decode": 2.0, "generation": 7.5, "stage": whole}
        for whole in (10.0, 10.0, 20.0)
    ]
    floors = [{"denoiser": 5.0, "encode": 1.0, "decode": 2.0}] * 3
    found = summary(stages, floors, [20.0, 30.0, 40.0])
    assert found["seconds"] == {"stage": 10.0, "ours": 8.5, "floor": 8.0, "theirs": 30.0}
    assert found["ours / floor"] == pytest.approx(8.5 / 8, abs=1e-3)
    assert found["stage / floor"] == 1.25
    assert found["theirs / stage"] == 2.0  # of 2, 3 and 2
    expected = {"captions": 0.05, "encode": 0.1, "denoiser": 0.5, "decode": 0.2, "everything else": 0.15}
    assert found["shares of the stage"] == pytest.approx(expected)


@pytest.mark.long
def test_one_pair_is_measured_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    found = runpy.run_path(str(BENCHMARK))["measure"](1, 1, tmp_path / "project")
    assert found["rounds"] == 1
    assert found["theirs / stage"] > 1.0
    assert 0.5 < found["ours / floor"] < 2.0
    assert sum(found["shares of the stage"].values()) == pytest.approx(1, abs=1e-3)
