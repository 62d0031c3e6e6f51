"""The figures about labellers, worked by hand."""

from typing import Any

import pytest
from report_study import IMAGE, SCRIPT, Study

from densedpo.report import summarise


@pytest.fixture(scope="module")
def figures(team: Study) -> dict[str, Any]:
    return summarise(team.project, "dense", "test")


def of(figures: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = (row for row in figures["labellers"] if row["name"] == name)
    return dict(row)


def test_everybody_has_a_row_people_first(figures: dict[str, Any]) -> None:
    assert [row["name"] for row in figures["labellers"]] == [SCRIPT, "ann", "cho", "dara", "oracle"]
    assert [row["kind"] for row in figures["labellers"]] == ["human"] * 4 + ["oracle"]


def test_a_person_who_always_chooses_the_left_one(figures: dict[str, Any]) -> None:
    found = of(figures, SCRIPT)
    assert found["choices"] == {"a": 4, "tie": 0, "b": 4, "skip": 0}
    left = found["first_chosen"]
    assert (left["value"], left["high"], left["n"]) == (1.0, 1.0, 8)
    assert left["low"] == pytest.approx(0.025 ** (1 / 8))  # Clopper and Pearson: all of 8
    assert (found["labels"], found["pairs"], found["median_seconds"], found["total_seconds"]) == (8, 4, 4.0, 32.0)
    assert of(figures, "ann")["first_chosen"]["value"] == 0.5  # a each time, whichever side it was on


def test_what_a_reviewer_settled_and_what_was_set_aside(figures: dict[str, Any]) -> None:
    assert (figures["decided_in_review"], figures["set_aside"]) == (1, 1)
    assert of(figures, "cho")["choices"] == {"a": 0, "tie": 1, "b": 0, "skip": 0}  # own words, though settled as b
    assert of(figures, "dara")["set_aside"] == 1 and of(figures, "dara")["labels"] == 1


def test_machines_have_no_first_side_and_no_clock(figures: dict[str, Any]) -> None:
    found = of(figures, "oracle")
    assert (found["first_chosen"], found["median_seconds"]) == (None, None)
    assert found["ties"]["value"] == pytest.approx(3 / 7)


def test_agreement_of_two(figures: dict[str, Any]) -> None:
    rows = {(row["first"], row["second"]): row for row in figures["agreement"]["between"]}
    both = rows[SCRIPT, "ann"]
    assert (both["segments"], both["accuracy"]["value"]) == (8, 0.5)  # a, b, a, b against a, a, a, a on both segments
    assert both["kappa_linear"]["value"] == 0.0
    assert not any("dara" in pair for pair in rows)  # set aside


def test_alpha_needs_two_labellers_on_a_segment(figures: dict[str, Any], empty: Study) -> None:
    assert (figures["agreement"]["all"]["segments"], figures["agreement"]["all"]["labellers"]) == (8, 5)
    assert figures["agreement"]["people"]["labellers"] == 4
    empty.label(empty.add_pair(0, "a star"), 0, "a")
    alone = summarise(empty.project, None, None)["agreement"]["all"]
    assert (alone["value"], alone["low"], alone["segments"]) == (None, None, 0)


def test_what_a_judge_used(figures: dict[str, Any]) -> None:
    (judge,) = figures["judges"]
    assert (judge["judge"], judge["answers"], judge["tokens_in"], judge["tokens_out"]) == (IMAGE, 5, 5000, 100)
    assert judge["outcomes"] == {"answered": 4, "refused": 1}
    assert (judge["first_chosen"]["value"], judge["first_chosen"]["n"]) == (1.0, 4)
    assert judge["median_seconds"] == 0.5


def test_labels_of_another_version_of_a_machine_are_another_labeller(empty: Study) -> None:
    pair = empty.add_pair(0, "a star")
    empty.label(pair, 0, "a", annotator="oracle", version="first")
    empty.label(pair, 1, "a", annotator="oracle", version="second")
    assert [row["shown"] for row in summarise(empty.project, None, None)["labellers"]] == [
        "oracle first",
        "oracle second",
    ]
