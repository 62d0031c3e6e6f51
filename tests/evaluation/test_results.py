"""Figures of results.json from planted scores."""

import math
from typing import Any

import numpy as np
import pytest

from densedpo.evaluation.head_to_head import head_to_head
from densedpo.evaluation.results import compare
from densedpo.metrics import find_metrics

METRICS = {name: find_metrics()[name] for name in ("visual_quality", "warping_error", "motion_strength", "sharpness")}


def row(contestant: str, prompt: int, seed: int, **scores: float) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "prompt": f"prompt {prompt}",
        "prompt_index": prompt,
        "seed": seed,
        "video": "",
        "scores": scores,
    }


def planted(prompts: int = 60) -> list[dict[str, Any]]:
    """`tuned` is better in quality by 0.1, has half the warping error, and keeps 95% of the motion."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(prompts):
        quality, error, motion = rng.uniform(0.3, 0.7), rng.uniform(0.02, 0.04), rng.uniform(0.5, 1.5)
        for name, better, less, kept in (("base", 0.0, 1.0, 1.0), ("tuned", 0.1, 0.5, 0.95)):
            for seed in range(2):
                rows.append(
                    row(
                        name,
                        prompt,
                        seed,
                        visual_quality=quality + better + rng.normal(0, 0.02),
                        warping_error=error * less,
                        motion_strength=motion * kept * (1 + rng.normal(0, 0.02)),
                    )
                )
    return rows


def test_planted_differences_are_found() -> None:
    found = compare(planted(), ["base", "tuned"], METRICS, {"x": "why"}, 0.1)
    assert (found["baseline"], found["prompts"], found["videos"], found["not_run"]) == ("base", 60, 240, {"x": "why"})
    assert list(found["metrics"]) == ["visual_quality", "warping_error", "motion_strength"]  # nobody has sharpness
    cells = found["differences"]["tuned"]
    quality = cells["visual_quality"]
    assert quality["low"] < 0.1 < quality["high"] and quality["n"] == 60
    assert quality["outcomes"]["wins"] == 60 and cells["warping_error"]["outcomes"]["wins"] == 60  # lower is better
    assert cells["warping_error"]["mean"] < 0
    assert "outcomes" not in cells["motion_strength"] and "p_holm" not in cells["motion_strength"]
    assert quality["smallest_detectable"] < 0.02


def test_holms_family_is_the_metrics_with_a_direction() -> None:
    rng = np.random.default_rng(1)
    rows = [
        row(name, p, 0, visual_quality=rng.normal(), warping_error=abs(rng.normal()), motion_strength=1.0)
        for name in ("base", "tuned")
        for p in range(20)
    ]
    cells = compare(rows, ["base", "tuned"], METRICS, {}, 0.1)["differences"]["tuned"]
    low, high = sorted((cells["visual_quality"], cells["warping_error"]), key=lambda cell: cell["p"])
    assert low["p_holm"] == pytest.approx(min(1, 2 * low["p"]))
    assert high["p_holm"] == pytest.approx(max(low["p_holm"], high["p"]))


def test_motion_is_kept_within_the_margin_and_not_beyond() -> None:
    rows = planted()
    assert compare(rows, ["base", "tuned"], METRICS, {}, 0.1)["motion_kept"]["tuned"]["motion_strength"]["holds"]
    kept = compare(rows, ["base", "tuned"], METRICS, {}, 0.03)["motion_kept"]["tuned"]["motion_strength"]
    assert not kept["holds"] and kept["ratio"] == pytest.approx(0.95, abs=0.01)


def test_only_videos_that_both_have_are_paired() -> None:
    rows = [row("base", 0, 0, visual_quality=0.5), row("base", 0, 1, visual_quality=0.9)]
    rows += [row("base", 1, 0, visual_quality=0.2), row("tuned", 0, 0, visual_quality=0.6)]
    rows += [row("tuned", 1, 0, visual_quality=0.5), row("tuned", 2, 0, visual_quality=0.0)]
    cell = compare(rows, ["base", "tuned"], METRICS, {}, 0.1)["differences"]["tuned"]["visual_quality"]
    assert cell["mean"] == pytest.approx((0.1 + 0.3) / 2) and cell["n"] == 2


def test_videos_without_a_value_are_counted() -> None:
    rows = planted(2)
    rows[0]["scores"].pop("motion_strength")
    rows[0]["unmeasured"] = {"motion_strength": "too small"}
    found = compare(rows, ["base", "tuned"], METRICS, {}, 0.1)
    assert found["unmeasured"] == {"base": {"motion_strength": 1}}


def test_head_to_head_by_hand() -> None:
    """Three prompts: one beats two twice and ties once; two beats three always; one beats three always."""
    scores = {"one": [3.0, 3.0, 2.0], "two": [2.0, 2.0, 2.0], "three": [1.0, 1.0, 1.0]}
    rows = [row(name, p, 0, q=value) for name, values in scores.items() for p, value in enumerate(values)]
    found = head_to_head(rows, "q", list(scores), "higher")
    pair = found["pairs"]["one against two"]
    assert (pair["wins"], pair["ties"], pair["losses"]) == (2, 1, 0)
    strength = {name: found["strengths"][name]["mean"] for name in scores}
    assert strength["one"] > strength["two"] > strength["three"]
    turned = head_to_head(rows, "q", list(scores), "lower")["strengths"]
    assert turned["three"]["mean"] == pytest.approx(-strength["three"])
    within = head_to_head(rows, "q", ["one", "two"], "higher", tie_band=1.5)
    assert within["pairs"]["one against two"]["ties"] == 3
    assert within["strengths"]["one"]["mean"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="no better direction"):
        head_to_head(rows, "q", ["one", "two"], "neither")


def test_seeds_are_averaged_before_anyone_wins() -> None:
    rows = [row("one", 0, s, q=v) for s, v in enumerate((1.0, 0.0))] + [row("two", 0, s, q=0.4) for s in (0, 1)]
    pair = head_to_head(rows, "q", ["one", "two"], "higher")["pairs"]["one against two"]
    assert (pair["wins"], pair["win_share"]["n"]) == (1, 1)


def test_one_contestant_alone_has_a_table_and_nothing_to_compare() -> None:
    rows = [row("base", p, 0, visual_quality=0.5) for p in range(3)]
    found = compare(rows, ["base"], METRICS, {}, 0.1)
    assert found["table"]["base"]["visual_quality"]["mean"] == 0.5
    assert found["differences"] == found["motion_kept"] == found["head_to_head"] == {}
    assert math.isnan(compare(rows[:1], ["base"], METRICS, {}, 0.1)["table"]["base"]["visual_quality"]["low"])
