import numpy as np
import pytest
from report_study import by_sigma, log_line

from densedpo import svg
from densedpo.report import charts, curves
from densedpo.report.histogram import bars, histogram


def test_scale_and_ticks_by_hand() -> None:
    scale = svg.Scale(0.0, 10.0, 100.0, 0.0)
    assert (scale(0), scale(10), scale(2.5)) == (100.0, 0.0, 75.0)
    assert scale.ticks(5) == [(100.0, "0"), (80.0, "2"), (60.0, "4"), (40.0, "6"), (20.0, "8"), (0.0, "10")]


@pytest.mark.parametrize(
    ("low", "high", "count", "labels"),
    [
        (0.0, 1.0, 4, ["0", "0.25", "0.50", "0.75", "1.00"]),
        (-0.001, 0.0011, 4, ["−0.0010", "−0.0005", "0", "0.0005", "0.0010"]),
        (0.0, 1e-4, 4, ["0", "2.5e−5", "5e−5", "7.5e−5", "1e−4"]),
        (1, 300, 4, ["100", "200", "300"]),
        (-0.0006, 0.0006, 4, ["−5e−4", "−2.5e−4", "0", "2.5e−4", "5e−4"]),
        (0.0, 4e5, 4, ["0", "1e5", "2e5", "3e5", "4e5"]),
    ],
)
def test_tick_labels(low: float, high: float, count: int, labels: list[str]) -> None:
    assert [label for _, label in svg.nice_ticks(low, high, count)] == labels


def test_smoothing_ignores_spikes_and_gaps_and_keeps_lines() -> None:
    line = np.arange(30.0)
    assert curves.smooth(line, 7)[10:20] == pytest.approx(line[10:20])
    spiky = np.ones(30)
    spiky[11], spiky[20] = 1e6, np.nan
    assert curves.smooth(spiky, 9) == pytest.approx(np.ones(30))
    assert np.isnan(curves.smooth(np.full(3, np.nan), 3)).all()
    assert curves.smooth(line, 1) == pytest.approx(line)


def test_thinning_keeps_every_spike() -> None:
    values = np.random.default_rng(0).normal(0, 1, 20_000)
    values[12_345], values[77] = 50.0, -50.0
    steps, kept = curves.thinned(np.arange(20_000.0), values)
    assert len(kept) <= curves.MOST_POINTS
    assert kept.max() == 50.0 and kept.min() == -50.0
    assert (np.diff(steps) > 0).all() and (values[steps.astype(int)] == kept).all()


def panels_of(log: list[dict[str, float]]) -> list[curves.Panel]:
    return curves.training_panels(log, curves.readout_rows(len(log)))


def test_one_panel_for_every_curve_the_log_holds() -> None:
    log = [log_line(step, 40) for step in range(1, 41)]
    titles = [panel.title for panel in panels_of(log)]
    assert titles == [each.title for each in curves.PANELS]
    losses = [{"step": line["step"], "loss": line["loss"], "lr": None} for line in log]
    assert [panel.title for panel in panels_of(losses)] == ["Loss"]
    assert panels_of([]) == []


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_steps_can_be_drawn(steps: int) -> None:
    panels = panels_of([log_line(step, 40) for step in range(1, steps + 1)])
    assert len(panels) == len(curves.PANELS)
    assert "nan" not in repr([line.raw + line.smooth for panel in panels for line in panel.lines])


def test_a_spike_does_not_squash_the_curve() -> None:
    log = [log_line(step, 400) for step in range(1, 401)]  # the first gradient norm is 40, the others about 1
    norm = next(panel for panel in panels_of(log) if panel.title == "Gradient norm")
    assert max(float(label) for _, label in norm.y_ticks) < 2


def test_ln_2_is_marked_on_the_loss() -> None:
    panel = panels_of([log_line(step, 40) for step in range(1, 41)])[0]
    assert panel.reference is not None and panel.reference[1] == "ln 2"
    assert charts.TOP < panel.reference[0] < charts.HEIGHT - charts.BOTTOM


def test_smoothing_at_some_places_is_the_same_there() -> None:
    values = np.random.default_rng(0).normal(0, 1, 500)
    places = curves.spread(500, 20)
    assert places[0] == 0 and places[-1] == 499 and len(places) == 20
    assert curves.smooth(values, 31, places) == pytest.approx(curves.smooth(values, 31)[places])


def test_the_readout_is_bounded_and_ends_with_the_last_step() -> None:
    assert curves.readout_rows(3) == [0, 1, 2] and curves.readout_rows(0) == []
    rows = curves.readout_rows(100_000)
    assert len(rows) == curves.READOUT_POINTS and (rows[0], rows[-1]) == (0, 99_999)


def test_between_validations_the_readout_tells_the_latest() -> None:
    log = [{"step": step, "loss": 1.0} for step in range(1, 7)]
    log[1]["validation_loss"], log[4]["validation_loss"] = 0.7, 0.6
    line = panels_of(log)[0].lines[1]
    assert (line.label, line.values) == ("validation", [None, 0.7, 0.7, 0.7, 0.6, 0.6])


def test_alarms_are_marked_at_their_steps() -> None:
    log = [log_line(step, 41) | ({"alarms": [{"name": "saturation"}]} if step == 21 else {}) for step in range(1, 42)]
    middle = (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2
    assert [panel.alarms for panel in panels_of(log)] == [[middle]] * len(curves.PANELS)


def test_one_curve_for_each_noise_level() -> None:
    log = [{"step": step, "by_sigma": by_sigma(step, 60)} for step in range(1, 61)]
    accuracy, gap = curves.noise_panels(log, curves.readout_rows(60))
    assert [line.label for line in accuracy.lines][::4] == ["0.0 to 0.2", "0.8 to 1.0"]
    assert accuracy.lines[0].values[-1] == 0.9 and accuracy.lines[4].values[-1] == 0.5
    assert gap.lines[2].values[-1] == 0.003  # loser 0.002 minus winner -0.001
    assert curves.noise_panels([log_line(1, 40)], [0]) == []


def test_a_histogram_by_hand() -> None:
    found = histogram([0.0, 0.1, 0.1, 0.55, 1.6])
    assert found is not None
    assert {each["low"]: each["n"] for each in found["bins"] if each["n"]} == {0.0: 1, 0.1: 2, 0.5: 1, 1.5: 1}
    assert (found["n"], found["low"], found["median"], found["high"]) == (5, 0.0, 0.1, 1.6)
    assert found["bins"][-1]["high"] == 1.6  # the largest value falls into the last bin, not beyond it
    assert histogram([]) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_every_value_is_in_one_bin_that_holds_it(scale: float) -> None:
    values = (np.random.default_rng(1).normal(0.3, 1, 300) * scale).tolist()
    found = histogram(values)
    assert found is not None and sum(each["n"] for each in found["bins"]) == 300
    for each in found["bins"][1:-1]:
        assert each["n"] == sum(each["low"] <= value < each["high"] for value in values)
    assert found["bins"][0]["low"] <= min(values) and max(values) <= found["bins"][-1]["high"]


def test_bars_stand_on_the_axis_and_the_tallest_reaches_the_top() -> None:
    drawn = bars(histogram([1.0, 1.0, 2.0]), "clips", mark=1.5)
    assert drawn is not None and drawn.mark == (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2
    assert {round(bar.y + bar.height, 1) for bar in drawn.bars} == {charts.HEIGHT - charts.BOTTOM}
    assert min(bar.y for bar in drawn.bars) == charts.TOP
    assert [label for _, label in drawn.y_ticks] == ["0", "1", "2"]
    assert drawn.bars[0].hint.endswith(": 2 clips")
    same = bars(histogram([0.65] * 4), "pairs")
    assert same is not None and len(same.bars) == 1 and same.mark is None
    assert bars(None, "clips") is None
