"""The guard sees each trouble when it begins, says it once, and is silent otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from densedpo.training import TrainSettings
from densedpo.training.guard import WINDOW, new_alarms
from densedpo.training.log import Log

K = 250.0
FINE = {"margin": 0.2, "winner_delta": -2e-4, "loser_delta": 3e-4, "pair_accuracy": 0.8, "inside_median": 0.3}
TROUBLES: dict[str, dict[str, float]] = {
    "displacement": {"winner_delta": 8e-4, "loser_delta": 2e-3},
    "saturation": {"pair_accuracy": 1.0, "inside_median": 9.0},
    "divergence": {"margin": -2.0},
}


def rows(count: int, **changes: float) -> list[dict[str, Any]]:
    return [FINE | changes for _ in range(count)]


def test_a_healthy_run_raises_no_alarm() -> None:
    assert new_alarms(rows(WINDOW + 1), K) == []


@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_told_once_when_it_begins(name: str) -> None:
    log, told = rows(WINDOW + 1), []
    for step in range(3 * WINDOW):
        log = [*log, *rows(1, **TROUBLES[name])]
        told += [(step, str(alarm)) for alarm in new_alarms(log, K)]
    assert len(told) == 1
    step, text = told[0]
    assert 0 < step < WINDOW
    assert text.startswith(f"{name}: ") and ". Try " in text and "--" in text


def test_it_tells_a_trouble_again_that_went_away() -> None:
    log, told = rows(WINDOW + 1), 0
    for part in (
        rows(2 * WINDOW, **TROUBLES["divergence"]),
        rows(2 * WINDOW),
        rows(2 * WINDOW, **TROUBLES["divergence"]),
    ):
        for row in part:
            log.append(row)
            told += len(new_alarms(log, K))
    assert told == 2


def test_it_waits_for_enough_steps_and_passes_over_sft() -> None:
    assert new_alarms(rows(WINDOW - 1, **TROUBLES["divergence"]), K) == []
    assert new_alarms([{"loss": 3.0, "lr": 1.0} for _ in range(WINDOW + 1)], K) == []


def test_a_rising_winner_error_alone_is_no_displacement() -> None:
    """Both must rise: where the winner's error rises and the loser's falls, the labels are being learned backwards."""
    assert new_alarms(rows(WINDOW + 1, winner_delta=8e-4, loser_delta=-1e-3), K) == []


def test_the_log_keeps_what_an_alarm_saw_and_what_to_try(tmp_path: Path) -> None:
    with Log(tmp_path, TrainSettings(track=()), K, 0, writes=True) as log:
        for step, row in enumerate([*rows(WINDOW + 1), *rows(WINDOW, **TROUBLES["displacement"])]):
            log.write({"step": step, **row})
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (alarm,) = [alarm for row in written for alarm in row.get("alarms", ())]
    assert alarm.keys() == {"name", "saw", "remedy"} and alarm["name"] == "displacement"
    assert "winners' error rose" in alarm["saw"] and "--lr" in alarm["remedy"]
