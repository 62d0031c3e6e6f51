from typing import Any

import pytest

from densedpo.report import words


def difference(mean: float, low: float | None, high: float | None, base: float = 1.0) -> dict[str, Any]:
    relative = mean / base if base > 0 else None
    return {"mean": mean, "low": low, "high": high, "n": 9, "relative": relative, "base_mean": base}


RISE, FALL = difference(0.021, 0.008, 0.034), difference(-0.02, -0.03, -0.01)
OPEN, WIDE = difference(0.004, -0.006, 0.014), difference(-0.02, -0.09, 0.05)
ALONE = difference(0.1, None, None)


@pytest.mark.parametrize(
    ("metric", "found", "expected"),
    [
        ("visual_quality", RISE, "Visual quality rose by 0.021 [+0.008, +0.034]"),
        ("text_alignment", FALL, "Text alignment fell by 0.020 [−0.030, −0.010]"),
        ("visual_quality", OPEN, "Visual quality shows no clear change: +0.004 [−0.006, +0.014]"),
        ("dynamic_degree", OPEN, "Motion kept within 5%: +0.4% [−0.6%, +1.4%]"),
        ("dynamic_degree", WIDE, "Motion shows no clear change: −2.0% [−9.0%, +5.0%]"),
        ("dynamic_degree", FALL, "Motion fell by 2.0% [−3.0%, −1.0%]"),
        (
            "dynamic_degree",
            difference(0.1, -0.1, 0.3, base=0.0),
            "Motion shows no clear change: +0.100 [−0.100, +0.300]",
        ),
        ("visual_quality", ALONE, "Visual quality was compared on one prompt only: too few for an interval"),
        ("visual_quality", None, "Visual quality was not measured on both sides"),
    ],
)
def test_sentences(metric: str, found: dict[str, Any] | None, expected: str) -> None:
    assert words.sentence(metric, found) == expected


@pytest.mark.parametrize("low, high, expected", [(0.0, 0.1, "unclear"), (-0.1, 0.0, "unclear"), (1e-9, 0.1, "rose")])
def test_touching_zero_is_not_a_change(low: float, high: float, expected: str) -> None:
    assert words.direction("visual_quality", difference((low + high) / 2, low, high)) == expected


def metrics(*found: dict[str, Any] | None) -> dict[str, Any]:
    return {metric: {"difference": each} for metric, each in zip(words.METRICS, found, strict=True)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((RISE, RISE, OPEN, OPEN), "“d” raised visual quality and text alignment and kept motion; no clear change in "
         "temporal consistency."),
        ((RISE, FALL, RISE, FALL), "“d” raised visual quality and temporal consistency and lowered text "
         "alignment and motion."),
        ((OPEN, OPEN, OPEN, WIDE), "No clear difference between “d” and the base."),
        ((OPEN, OPEN, OPEN, OPEN), "“d” kept motion; no clear change in visual quality, text alignment and temporal "
         "consistency."),
        ((ALONE, ALONE, ALONE, None), "No clear difference between “d” and the base."),
    ],
)  # fmt: skip
def test_verdicts(found: tuple[dict[str, Any] | None, ...], expected: str) -> None:
    assert words.verdict("d", metrics(*found)) == expected


@pytest.mark.parametrize(
    "seconds, expected",
    [(None, "–"), (8.44, "8.4 s"), (59.97, "1 min 00 s"), (192, "3 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert words.duration(seconds) == expected


def test_numbers() -> None:
    assert words.number(-0.5) == "−0.500"
    assert words.number(None) == "–"
    assert words.number(0.25, 1, signed=True) == "+0.2"
    assert words.percent(0.714) == "71%"


def test_what_was_done_counts_in_words() -> None:
    figures = {
        "pairs": 1,
        "labelled_segments": 1200,
        "labelled_pairs": 300,
        "training": {"steps": 250},
        "contestants": {"base": {}, "dense": {}},
        "prompts": 64,
    }
    assert words.what_was_done(figures) == (
        "1 pair of clips, 1,200 segments labelled on 300 pairs, a LoRA trained for 250 steps, "
        "compared with the base on 64 held-out prompts."
    )
    nothing = {"pairs": 0, "labelled_segments": 0, "training": None, "contestants": {}}
    assert words.what_was_done(nothing) == "0 pairs of clips."
