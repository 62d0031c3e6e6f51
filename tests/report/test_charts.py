from typing import Any

import numpy as np
import pytest
from report_study import log_line

from densedpo.report import charts


def test_scale_and_ticks_by_hand() -> None:
    scale = charts.Scale(0.0, 10.0, 100.0, 0.0)
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
    assert [label for _, label in charts.nice_ticks(low, high, count)] == labels


def test_smoothing_ignores_spikes_and_gaps_and_keeps_lines() -> None:
    line = np.arange(30.0)
    assert charts.smooth(line, 7)[10:20] == pytest.approx(line[10:20])
    spiky = np.ones(30)
    spiky[11], spiky[20] = 1e6, np.nan
    assert charts.smooth(spiky, 9) == pytest.approx(np.ones(30))
    assert np.isnan(charts.smooth(np.full(3, np.nan), 3)).all()
    assert charts.smooth(line, 1) == pytest.approx(line)


def test_thinning_keeps_every_spike() -> None:
    values = np.random.default_rng(0).normal(0, 1, 20_000)
    values[12_345], values[77] = 50.0, -50.0
    steps, kept = charts.thinned(np.arange(20_000.0), values)
    assert len(kept) <= charts.MOST_POINTS
    assert kept.max() == 50.0 and kept.min() == -50.0
    assert (np.diff(steps) > 0).all() and (values[steps.astype(int)] == kept).all()


def test_one_panel_for_every_curve_the_log_holds() -> None:
    log = [log_line(step, 40) for step in range(1, 41)]
    titles = [panel.title for panel in charts.training_panels(log)]
    assert titles == [curves.title for curves in charts.PANELS]
    losses = [{"step": line["step"], "loss": line["loss"], "lr": None} for line in log]
    assert [panel.title for panel in charts.training_panels(losses)] == ["Loss"]
    assert charts.training_panels([]) == []


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_steps_can_be_drawn(steps: int) -> None:
    panels = charts.training_panels([log_line(step, 40) for step in range(1, steps + 1)])
    assert len(panels) == len(charts.PANELS)
    assert "nan" not in repr([line.raw + line.smooth for panel in panels for line in panel.lines])


def test_a_spike_does_not_squash_the_curve() -> None:
    log = [log_line(step, 400) for step in range(1, 401)]  # the first gradient norm is 40, the others about 1
    norm = next(panel for panel in charts.training_panels(log) if panel.title == "Gradient norm")
    assert max(float(label) for _, label in norm.y_ticks) < 2


def contestants(**found: tuple[float, float, float] | None) -> dict[str, Any]:
    return {
        "dense": {
            metric: {
                "difference": limits
                and {
                    "mean": limits[0],
                    "low": limits[1],
                    "high": limits[2],
                    "relative": limits[0] / 2,
                    "base_mean": 2.0,
                }
            }
            for metric, limits in found.items()
        }
    }


def test_forest_puts_every_difference_on_one_axis_in_percent() -> None:
    plot = charts.forest(contestants(visual_quality=(0.2, 0.1, 0.3), dynamic_degree=(-0.1, -0.2, 0.0), other=None))
    assert plot is not None
    quality, motion = plot.marks["dense", "visual_quality"], plot.marks["dense", "dynamic_degree"]
    assert motion.low < motion.at < motion.high == plot.zero < quality.low < quality.at < quality.high
    assert quality.low - plot.zero == pytest.approx(plot.zero - motion.at, abs=0.2)  # +5% and -5%
    assert [label for _, label in plot.ticks] == ["−10%", "−5%", "0", "+5%", "+10%", "+15%"]
    assert plot.zero == dict((label, at) for at, label in plot.ticks)["0"]


def test_no_forest_without_intervals() -> None:
    assert charts.forest(contestants(visual_quality=None)) is None
    assert charts.forest({}) is None


def test_ln_2_is_marked_on_the_loss() -> None:
    panel = charts.training_panels([log_line(step, 40) for step in range(1, 41)])[0]
    assert panel.reference is not None and panel.reference[1] == "ln 2"
    assert charts.TOP < panel.reference[0] < charts.HEIGHT - charts.BOTTOM
