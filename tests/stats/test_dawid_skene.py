"""Dawid and Skene: one round by hand, planted annotators found again, and what must hold for all ratings."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densedpo.stats.agreement import ORDER
from densedpo.stats.dawid_skene import dawid_skene

NAN = math.nan
NONE = np.zeros((3, 3))


def test_one_round_by_hand() -> None:
    # Two raters, two units: (a, a) and (a, b). Start: unit 0 is a; unit 1 is half a, half b.
    # prior: a 3/4, b 1/4. chosen: rater 0 always a; rater 1 where a is true a 1/1.5 and b 0.5/1.5, where b is b.
    # Unit 0: a 3/4 * 1 * 2/3 against b 1/4 * 1 * 0. Unit 1: a 3/4 * 1/3 = 1/4 against b 1/4 * 1 = 1/4.
    fitted = dawid_skene([[1, 1], [1, -1]], imagined=NONE, tolerance=1e9)
    assert fitted.prior_J.tolist() == [0.75, 0, 0.25]
    assert fitted.chosen_RJK[0, 0].tolist() == [1, 0, 0]
    assert fitted.chosen_RJK[1, 0].tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    assert fitted.chosen_RJK[1, 2].tolist() == [0, 0, 1]
    assert fitted.chosen_RJK[1, 1].tolist() == pytest.approx([1 / 3] * 3)  # no tie anywhere: nothing known
    assert fitted.truth_UJ.tolist() == [pytest.approx([1, 0, 0]), pytest.approx([0.5, 0, 0.5])]
    assert fitted.objective == (pytest.approx(math.log(1 / 2) + math.log(1 / 2)),)


def test_planted_annotators_are_found_again() -> None:
    rng = np.random.default_rng(0)
    truth_U = rng.choice(3, 3000, p=[0.4, 0.2, 0.4])
    careful = np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    ties_often = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    contrary = np.array([[0.1, 0.1, 0.8], [0.2, 0.6, 0.2], [0.8, 0.1, 0.1]])
    planted = [careful, careful, ties_often, contrary]
    answers = np.array([[rng.choice(3, p=chosen[truth]) for chosen in planted] for truth in truth_U])
    fitted = dawid_skene(np.array(ORDER)[answers])
    np.testing.assert_allclose(fitted.chosen_RJK, planted, atol=0.06)
    np.testing.assert_allclose(fitted.prior_J, [0.4, 0.2, 0.4], atol=0.04)
    found = np.mean(fitted.truth_UJ.argmax(axis=1) == truth_U)
    counts = (answers[:, :, None] == np.arange(3)).sum(axis=1)
    assert found > np.mean(counts.argmax(axis=1) == truth_U) + 0.05  # the plain vote believes the contrary one


ratings = st.lists(
    st.lists(st.sampled_from([-1.0, 0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=15
).map(np.array)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ratings)
def test_the_objective_never_falls_and_sides_are_alike(ratings_UR: np.ndarray) -> None:
    fitted = dawid_skene(ratings_UR)
    assert np.diff(fitted.objective).min(initial=0) > -1e-9
    np.testing.assert_allclose(fitted.truth_UJ.sum(axis=1), 1)
    swapped = dawid_skene(-ratings_UR)
    np.testing.assert_allclose(swapped.truth_UJ, fitted.truth_UJ[:, ::-1], atol=1e-6)


def test_a_single_annotator_is_believed() -> None:
    assert dawid_skene([[1], [0], [-1], [-1]]).truth_UJ.argmax(axis=1).tolist() == [0, 1, 2, 2]


def test_no_units_and_foreign_ratings() -> None:
    assert dawid_skene(np.zeros((0, 2))).truth_UJ.shape == (0, 3)
    with pytest.raises(ValueError, match=r"expected \[units, raters\]"):
        dawid_skene([[2]])
