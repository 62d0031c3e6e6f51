"""Which candidate is suggested, by hand-made figures, and what the picture and the words say of it."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from densedpo.evaluation.choosing import Candidate, candidates, in_words, on_front, suggested
from densedpo.evaluation.sweep_page import draw, signed, write_page
from densedpo.stats import Interval

SVG = "{http://www.w3.org/2000/svg}"


def candidate(step: int, scale: float, low: float, high: float, drift: float, **changes: Any) -> Candidate:
    values = {
        "contestant": f"step-{step}-x{scale:g}",
        "step": step,
        "scale": scale,
        "quality": Interval((low + high) / 2, low, high, 20),
        "p": 0.01,
        "p_holm": 0.03,
        "motion": 0.98,
        "keeps_motion": True,
        "drift": Interval(drift, drift - 0.001, drift + 0.001, 16),
        "motion_drift": None,
        "fell": (),
        "front": False,
    }
    return Candidate(**values | changes)


FEW = [
    candidate(100, 0.5, -0.01, 0.03, 0.01),  # its interval holds 0
    candidate(100, 1.0, 0.01, 0.05, 0.02, keeps_motion=False, motion=0.7),
    candidate(200, 0.5, 0.02, 0.06, 0.03),
    candidate(200, 1.0, 0.05, 0.11, 0.06),
]


def test_the_least_drift_of_those_that_are_better_and_move_is_suggested() -> None:
    assert suggested(FEW) is FEW[2]
    assert suggested(FEW[:2]) is None
    assert suggested([replace(FEW[3], keeps_motion=None)]) is None
    words = in_words(FEW, "visual_quality", "motion_strength")
    assert words == (
        "Step 200 at scale 0.5: of 2 of 4 candidates that are better by visual_quality and keep their motion_strength, "
        "it drifts least (3.0%). It gains +0.04 (95% interval +0.02 to +0.06) and keeps 98% of the motion. This holds "
        "also when corrected for 4 candidates (Holm p 0.03)."
    )


def test_the_words_never_claim_more_than_the_figures() -> None:
    assert in_words(FEW[:1], "q", "m").startswith("Keep the base, or look further: for none of 1 candidates")
    assert in_words(FEW[:2], "q", "m") == (
        "No suggestion: 1 of 2 candidates are better by q, but none of them is shown to keep its m."
    )
    unmeasured = [replace(each, keeps_motion=None, motion=None) for each in FEW]
    assert in_words(unmeasured, "q", None).endswith("but motion was not measured.")
    weak = in_words([replace(FEW[3], p_holm=0.2, fell=("text_alignment",))], "q", "m")
    assert "it is not significant (Holm p 0.2): confirm it on other prompts." in weak
    assert weak.endswith("But it got worse by text_alignment: look at its clips.")


def test_the_front_by_hand() -> None:
    """(drift, quality): the base, one on the front, one beaten by it, one behind both, one worse than the base."""
    points = [(0.0, 0.0), (0.1, 0.5), (0.2, 0.4), (0.3, 0.9), (0.05, -0.1)]
    assert [on_front(point, points) for point in points] == [True, True, False, True, False]
    assert on_front((0.1, 0.5), [(0.1, 0.5), (0.1, 0.5)])  # an equal does not beat
    assert not on_front((0.1, 0.4), [(0.1, 0.4), (0.1, 0.5)])
    assert not on_front((math.nan, 0.5), [(math.nan, 0.5)])
    assert not on_front((0.1, math.nan), [(0.1, math.nan)])


def cell(mean: float, low: float, high: float, p: float, p_holm: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "n": 20, "p": p} | ({} if p_holm is None else {"p_holm": p_holm})


def test_candidates_turn_metrics_whose_better_is_lower_and_correct_for_their_number() -> None:
    results = {
        "metrics": {
            "error": {"better": "lower"},
            "text": {"better": "higher"},
            "speed": {"better": "neither"},
        },
        "differences": {
            "one": {"error": cell(-0.2, -0.3, -0.1, 0.01, 0.02), "text": cell(-1, -2, -0.5, 0.01, 0.02)},
            "two": {"error": cell(0.1, -0.1, 0.3, 0.4, 0.4), "text": cell(-1, -2, 0.5, 0.2, 0.4)},
            "three": {"speed": cell(-5, -6, -4, 0.001)},
        },
        "motion_kept": {"one": {"speed": {"ratio": 0.95, "holds": True}}, "two": {}, "three": {}},
    }
    drift = {
        "one": [{"velocity": 0.1, "motion": 0.2}, {"velocity": 0.3, "motion": -0.1}],
        "two": [{"velocity": 0.1, "motion": None}, {"velocity": 0.1, "motion": None}],
        "three": [{"velocity": 0.0, "motion": None}, {"velocity": 0.0, "motion": None}],
    }
    places = {"one": (100, 1.0), "two": (100, 0.5), "three": (200, 1.0)}
    one, two, three = candidates(places, results, drift, "error", "speed")
    assert (one.quality.mean, one.quality.low, one.quality.high) == (0.2, 0.1, 0.3)
    assert one.better and one.eligible and one.front and one.fell == ("text",)
    assert (one.drift.mean, one.motion, one.p_holm) == (0.2, 0.95, 0.02)  # two p values are known
    assert one.motion_drift is not None and one.motion_drift.mean == pytest.approx(0.05)
    assert (two.quality.mean, two.quality.low, two.quality.high) == (-0.1, -0.3, 0.1)
    assert (two.better, two.front, two.fell, two.keeps_motion, two.motion_drift) == (False, False, (), None, None)
    assert math.isnan(three.quality.mean) and not three.better and not three.front and not three.fell
    assert math.isnan(three.p_holm)


def dots(picture: str) -> list[tuple[str, float, float, list[str]]]:
    """Name, x, y and classes of every dot."""
    found = []
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        circles = group.findall(f"{SVG}circle")
        if circles:
            name = group.find(f"{SVG}text")
            assert name is not None
            *_, last = circles
            classes = [circle.get("class") or "" for circle in circles]
            found.append((name.text or "", float(last.get("cx") or 0), float(last.get("cy") or 0), classes))
    return found


def test_the_picture_shows_every_candidate_where_it_belongs() -> None:
    front = [replace(each, front=each.step == 200) for each in FEW]
    unknown = candidate(300, 1.0, math.nan, math.nan, 0.1)
    base, *rest = dots(draw("dense", [*front, unknown], front[2], "Quality"))
    assert base[0] == "base"
    assert [each[0] for each in rest] == ["×0.5", "×1", "×0.5", "×1"]
    for one, two in zip([base, *rest], rest, strict=False):
        assert one[1] < two[1]  # more drift is further to the right
    assert [each[2] for each in rest] == sorted((each[2] for each in rest), reverse=True)  # more quality is higher
    assert [each[3] for each in rest] == [["o0"], ["o0"], ["ring", "f1"], ["f1"]]


def test_page_and_picture_show_names_as_text(tmp_path: Path) -> None:
    picture, page = write_page(tmp_path, "dense", FEW, FEW[2], "<script>alert(1)</script>", "<b>Quality</b>", "m")
    for text in (picture.read_text(), page.read_text()):
        assert "<b>" not in text and "<script" not in text and "http://" not in text.replace("http://www.w3.org", "")
    assert page.read_text().count('class="chosen"') == 1
    assert "70%, not shown" in page.read_text()


def test_unknown_figures_are_dashes() -> None:
    assert signed(Interval(math.nan, math.nan, math.nan, 0)) == "–"
    assert signed(Interval(0.5, math.nan, math.nan, 1)) == "+0.5"
    assert signed(Interval(0.5, 0.25, 0.75, 9)) == "+0.5 (+0.25 to +0.75)"
