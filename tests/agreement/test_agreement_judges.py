"""What the agreement page says of judges, their cost, and which labels make the consensus; all worked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from agreement_projects import answer, give, new_project

from densedpo.agreement import AgreementSettings, write_agreement
from densedpo.errors import UserError
from densedpo.store.project import Project

QUICK = AgreementSettings(resamples=20, shown=1)


def numbers(project: Project, **changes: Any) -> dict[str, Any]:
    report = write_agreement(project, QUICK.model_copy(update=changes))
    found: dict[str, Any] = json.loads(report.numbers.read_text())
    return found


def test_what_a_judge_said_and_cost_by_hand(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    give(project, "judge", "attt", kind="vlm")
    seen = {"a": ["noise"], "b": ["noise", "blur", "blur"]}
    answer(project, "judge", [(0, "ab", 0, "a"), (0, "ba", 0, "a"), (1, "ab", 0, "t")], artifacts=seen)
    answer(project, "judge", [(1, "ba", 0, "s")], outcome="refused")
    answer(project, "judge", [(2, "ab", 0, "s"), (2, "ba", 0, "s")], outcome="nonsense")
    answer(project, "judge", [(3, "ab", 0, "a")], aspect="static-test")  # no opinion on a pair
    (judge,) = numbers(project)["judges"]
    assert (judge["shown"], judge["answers"], judge["abstained"]) == ("judge", 6, 3)
    assert judge["abstentions"] == {"nonsense": 2, "refused": 1}
    # Noise in three opinions, in both clips each time; blur in three, in b only, which is never the clip chosen.
    assert judge["artifacts"] == [
        {"kind": "blur", "answers": 3, "in_chosen": 0, "in_other": 2},
        {"kind": "noise", "answers": 3, "in_chosen": 2, "in_other": 2},
    ]
    # 100 tokens in each; 10, 10, 11, 11, 12, 12 out; three segments.
    assert (judge["places"], judge["tokens_in"], judge["tokens_out"]) == (3, 600, 66)
    assert (judge["place_tokens"], judge["answer_seconds"], judge["money"]) == (222, 2, None)
    for price in (9.0, 2.0):  # the latest counts
        project.record("label", annotator="judge", version="v", added=1, price_in=price, price_out=10.0)
    project.record("label", annotator="judge", version="v", added=1)
    report = write_agreement(project, QUICK)
    (judge,) = json.loads(report.numbers.read_text())["judges"]
    assert judge["money"] == pytest.approx((600 * 2 + 66 * 10) / 1e6)
    assert judge["place_money"] == pytest.approx(judge["money"] / 3)
    text = report.page.read_text()
    assert "nonsense 2 (33%), refused 1 (17%)" in text and "Artifacts that judge named" in text and "0.00062" in text
    give(project, "ann", "aaaa")
    assert numbers(project, annotators=("ann",))["judges"] == []


def test_flips_and_repeats_by_hand(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    give(project, "judge", "ttta", kind="vlm")
    both = [
        (0, "ab", 0, "a"),
        (0, "ba", 0, "b"),
        (1, "ab", 0, "a"),
        (1, "ba", 0, "a"),
        (2, "ab", 0, "t"),
        (2, "ba", 0, "t"),
    ]
    answer(project, "judge", [*both, (0, "ab", 1, "a"), (1, "ab", 1, "b"), (2, "ba", 1, "t"), (3, "ab", 0, "a")])
    (judge,) = numbers(project)["judges"]
    # Of three segments that were asked in both orders one got two answers; of three second votes one is another.
    assert (judge["flips"]["value"], judge["flips"]["n"]) == (pytest.approx(1 / 3, abs=1e-6), 3)
    assert (judge["repeats"]["value"], judge["repeats"]["n"]) == (pytest.approx(2 / 3, abs=1e-6), 3)


def test_which_labels_make_the_consensus_by_hand(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    give(project, "ann", "abab")
    give(project, "m1", "bbtt", kind="vlm")
    give(project, "m2", "bbta", kind="vlm")

    def against_ann_and_m1(**changes: Any) -> list[list[int]]:
        """What the consensus of ann and m1 is (rows), and what m2 says (columns)."""
        table: list[list[int]] = numbers(project, **changes)["against_reference"]["m2"]["confusion"]
        return table

    # ann and m1 together: a draw, b, a draw, a draw. m2: b, b, tie, a.
    assert against_ann_and_m1() == [[0, 0, 0], [1, 1, 1], [0, 0, 1]]
    assert against_ann_and_m1(draw="unlabelled") == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert against_ann_and_m1(minimum_confidence=0.6) == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert against_ann_and_m1(humans_override=True) == [[0, 1, 1], [0, 0, 0], [1, 0, 1]]
    with pytest.raises(UserError, match="gold is for the method weighted"):
        numbers(project, gold="ann")
