"""What the overview says of an evaluation: never more than its intervals show."""

from typing import Any

import pytest

from densedpo.report.verdicts import findings, verdict

TITLES = {"quality": "Visual quality (tiny world)", "error": "Warping error", "vbench": "VBench consistency"}
BETTER = {"quality": "higher", "error": "lower", "vbench": "higher", "motion_strength": "neither", "dis": "neither"}


def difference(mean: float, low: float | None, high: float | None, p: float | None) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "n": 9, "p": p, "p_holm": p}


UP, DOWN = difference(0.02, 0.01, 0.03, 0.001), difference(-0.02, -0.03, -0.01, 0.001)
OPEN, LUCKY = difference(0.01, -0.01, 0.03, 0.4), difference(0.02, 0.001, 0.03, 0.2)  # p by Holm over many
ALONE = difference(0.1, None, None, None)


def results(found: dict[str, Any], kept: dict[str, bool] | None = None) -> dict[str, Any]:
    mean = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    about = {
        name: {"title": TITLES.get(name, name), "better": BETTER[name], "aspect": "quality"}
        for name in [*found, *(kept or {})]
    }
    motion = {name: {"holds": holds, "ratio": 0.97, "margin": 0.1} for name, holds in (kept or {}).items()}
    return {
        "baseline": "base",
        "contestants": ["base", "d"],
        "metrics": about,
        "table": {"base": dict.fromkeys(about, mean), "d": dict.fromkeys(about, mean)},
        "differences": {"d": {name: each for name, each in found.items() if each}},
        "motion_kept": {"d": motion},
    }


@pytest.mark.parametrize(
    ("found", "kept", "expected"),
    [
        ({"quality": UP, "error": DOWN, "vbench": OPEN}, True,
         "“d” is better in visual quality and warping error and keeps its motion; no clear change in VBench "
         "consistency."),
        ({"quality": DOWN, "error": UP}, False,
         "“d” is worse in visual quality and warping error, and has not been shown to keep its motion."),
        ({"quality": OPEN, "error": LUCKY, "vbench": ALONE}, None, "No clear difference between “d” and “base”."),
        ({"quality": None, "error": DOWN}, None, "“d” is better in warping error."),
    ],
)  # fmt: skip
def test_verdicts(found: dict[str, Any], kept: bool | None, expected: str) -> None:
    motion = {} if kept is None else {"motion_strength": kept}
    assert verdict(results(found, motion), "d") == expected


@pytest.mark.parametrize(
    ("name", "found", "said", "word"),
    [
        ("quality", UP, "better", "better"),
        ("error", UP, "worse", "worse"),
        ("quality", LUCKY, "unclear", "no clear change"),
        ("quality", ALONE, "unknown", "not measured"),
        ("quality", None, "unknown", "not measured"),
    ],
)
def test_one_finding(name: str, found: dict[str, Any] | None, said: str, word: str) -> None:
    (finding,) = findings(results({name: found}), "d")
    assert (finding.said, finding.word, finding.difference) == (said, word, found)


def test_the_continuous_amount_of_motion_is_the_one_that_is_told() -> None:
    found = findings(results({}, {"dis": True, "motion_strength": False}), "d")
    assert [(each.metric, each.word) for each in found] == [
        ("motion_strength", "97%: not shown to keep at least 90% of the motion")
    ]
    assert [each.metric for each in findings(results({}, {"dis": True}), "d")] == ["dis"]
