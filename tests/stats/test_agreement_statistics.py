"""Agreement, against values worked out by hand and against the `krippendorff` library."""

import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densedpo.stats.agreement import (
    Resampled,
    agreement,
    alpha_interval,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
    position_bias,
)

NAN = math.nan
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def test_alpha_gives_the_values_of_krippendorffs_own_example() -> None:
    ratings_UR = np.array(OBSERVERS).T
    assert krippendorff_alpha(ratings_UR, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(ratings_UR, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(ratings_UR, "interval") == pytest.approx(0.849, abs=5e-4)


ratings = st.lists(
    st.lists(st.sampled_from([-1.0, 0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=2, max_size=12
).filter(lambda rows: len({v for row in rows if sum(map(math.isfinite, row)) > 1 for v in row if math.isfinite(v)}) > 1)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=ratings)
def test_alpha_is_that_of_the_library(level: str, rows: list[list[float]]) -> None:
    expected = krippendorff.alpha(reliability_data=np.array(rows).T, level_of_measurement=level)
    assert krippendorff_alpha(rows, level) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_alpha_says_nothing_where_nothing_can_be_said() -> None:
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))  # one value: no chance to disagree
    assert math.isnan(krippendorff_alpha([[1, NAN], [NAN, -1]]))  # no unit has two ratings
    assert math.isnan(krippendorff_alpha(np.zeros((0, 2))))
    assert krippendorff_alpha([[1, 1], [-1, -1]]) == 1
    with pytest.raises(ValueError, match=r"expected \[units, raters\]"):
        krippendorff_alpha([1, 0, 1])


def test_kappa_by_hand() -> None:
    # Table (rows first, columns second): 20 5 / 10 15. Observed 0.7; expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    first = [1] * 25 + [-1] * 25
    second = [1] * 20 + [-1] * 5 + [1] * 10 + [-1] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_linear_kappa_counts_a_tie_as_half_a_reversal() -> None:
    # Four units: (1, 1), (0, 1), (-1, -1), (-1, 1). Observed distances 0 + 1 + 0 + 2 = 3.
    # Marginals: first 1/4, 1/4, 2/4 of (1, 0, -1); second 3/4, 0, 1/4. Expected, times 4:
    # 4 * (1/4 * 1/4 * 2 + 1/4 * 3/4 * 1 + 1/4 * 1/4 * 1 + 2/4 * 3/4 * 2) = 4 * (0.125 + 0.1875 + 0.0625 + 0.75) = 4.5
    first, second = [1, 0, -1, -1], [1, 1, -1, 1]
    assert cohen_kappa(first, second, "linear") == pytest.approx(1 - 3 / 4.5)
    # Plain: observed disagreements 2; expected 4 * (1 - (3/16 + 0 + 2/16)) = 2.75
    assert cohen_kappa(first, second) == pytest.approx(1 - 2 / 2.75)


def test_kappa_leaves_out_what_one_rater_did_not_judge() -> None:
    assert cohen_kappa([1, -1, NAN, 1], [1, -1, 1, NAN]) == 1
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(cohen_kappa([], []))
    with pytest.raises(ValueError, match="one length"):
        cohen_kappa([1], [1, 0])


def test_confusion_counts_reference_by_given_in_the_order_a_tie_b() -> None:
    table = confusion([1, 1, 0, -1, NAN], [1, -1, 0, 0, 1])
    assert table.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="must be"):
        confusion([2], [1])


def test_agreement_by_hand() -> None:
    reference = [1, 1, 1, 0, 0, -1, -1, -1, -1, NAN]
    given_ = [1, 0, -1, 0, 1, -1, -1, 1, 0, 1]
    found = agreement(reference, given_, list("ppqqrrsstt"), resamples=200)
    assert (found.n, found.groups) == (9, 5)
    assert found.confusion == ((1, 1, 1), (1, 1, 0), (1, 1, 2))
    assert found.accuracy.mean == pytest.approx(4 / 9)
    assert found.accuracy_without_ties.mean == pytest.approx(3 / 5)  # (1, -1) and (-1, 1) are wrong
    assert found.decided.mean == pytest.approx(5 / 7)
    # Chance agrees on 3 x 3 + 2 x 3 + 4 x 3 of 81. Without the ties kappa would be 1/6 too; the next test tells.
    assert found.kappa.mean == pytest.approx((4 / 9 - 27 / 81) / (1 - 27 / 81))
    assert found.kappa_linear.mean == pytest.approx(cohen_kappa(reference, given_, "linear"))
    assert found.alpha.mean == pytest.approx(krippendorff_alpha(np.stack([reference, given_], axis=1)))
    assert found.accuracy.low <= 4 / 9 <= found.accuracy.high


def test_the_kappas_of_many_units_count_their_ties() -> None:
    rng = np.random.default_rng(1)
    reference, given_ = rng.integers(-1, 2, 40), rng.integers(-1, 2, 40)
    found = agreement(reference, given_, list(range(40)), resamples=20)
    sides = (reference != 0) & (given_ != 0)
    assert found.kappa.mean == pytest.approx(cohen_kappa(reference, given_))
    assert found.kappa.mean != pytest.approx(cohen_kappa(reference[sides], given_[sides]), abs=0.01)
    assert found.kappa_linear.mean == pytest.approx(cohen_kappa(reference, given_, "linear"))


def test_agreement_does_not_care_about_names_of_sides_or_order_of_units() -> None:
    rng = np.random.default_rng(1)
    reference, given_ = rng.integers(-1, 2, 40), rng.integers(-1, 2, 40)
    groups = np.arange(40) // 4
    one = agreement(reference, given_, groups.tolist(), resamples=50)
    swapped = agreement(-reference, -given_, groups.tolist(), resamples=50)
    for mine, other in ((one.kappa_linear, swapped.kappa_linear), (one.accuracy, swapped.accuracy)):
        assert (mine.mean, mine.low, mine.high) == pytest.approx((other.mean, other.low, other.high))
    assert one.alpha.mean == pytest.approx(swapped.alpha.mean)
    order = rng.permutation(40)
    shuffled = agreement(reference[order], given_[order], groups[order].tolist(), resamples=50)
    assert shuffled.alpha.mean == pytest.approx(one.alpha.mean)


def test_the_bootstrap_draws_pairs_not_segments() -> None:
    # 10 pairs of 10 segments; within a pair all segments are right or all wrong. Only 10 things vary.
    right = np.repeat([1, 0] * 5, 10)
    reference, given_ = np.ones(100), np.where(right, 1, -1)
    by_pair = agreement(reference, given_, np.repeat(np.arange(10), 10).tolist(), resamples=2000).accuracy
    by_segment = agreement(reference, given_, list(range(100)), resamples=2000).accuracy
    # The standard deviation of a mean of n coins is 0.5 / sqrt(n), and 95% are within 1.96 of them.
    assert by_pair.high - by_pair.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(10), abs=0.06)
    assert by_segment.high - by_segment.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(100), abs=0.03)


def test_alpha_interval_covers_the_truth_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 2, 400)
    noisy = np.where(rng.random((400, 2)) < 0.8, truth[:, None], rng.integers(-1, 2, (400, 2))).astype(float)
    found = alpha_interval(noisy, seed=3, resamples=500)
    assert found == alpha_interval(noisy, seed=3, resamples=500)
    assert found != alpha_interval(noisy, seed=4, resamples=500)
    # Two raters that each tell the truth with probability 0.8, else throw a die: 0.64 beyond chance.
    assert found.low < 0.64 < found.high
    assert found.high - found.low < 0.2


def test_one_pair_has_no_limits() -> None:
    found = agreement([1, 0], [1, 1], ["p", "p"])
    assert found.accuracy.mean == 0.5
    assert math.isnan(found.accuracy.low)
    assert math.isnan(agreement([], [], []).accuracy.mean)


def test_draws_without_a_value_are_left_out() -> None:
    tables = np.zeros((2, 3, 3))
    tables[0, 0, 0] = tables[1, 2, 0] = 1
    sample = Resampled.draw(tables, seed=0, resamples=50)
    found = sample.interval(lambda drawn: np.where(drawn[..., 0, 0] == 2, np.nan, drawn[..., 2, 0]))
    assert (found.mean, found.low, found.high) == (1, 1, 2)  # (2, 0) is not defined, (1, 1) and (0, 2) are


def test_no_failure_at_all_is_not_certainty() -> None:
    found = agreement([1, -1, 0, 1], [1, -1, 0, 1], ["p", "p", "q", "r"], resamples=20)
    # Three pairs, all right: Wilson's lower limit is 3 / (3 + z^2); without ties there are two.
    assert (found.accuracy.low, found.accuracy.high) == (pytest.approx(3 / (3 + 1.959964**2)), 1)
    assert found.accuracy_without_ties.low == pytest.approx(2 / (2 + 1.959964**2))
    assert found.kappa.mean == 1 and math.isnan(found.kappa.low)


def test_position_bias_has_an_exact_interval() -> None:
    # Clopper and Pearson for 8 of 10 at 95%: 0.4439 to 0.9748 (their table).
    share, low, high = position_bias(8, 10)
    assert (share, low, high) == (0.8, pytest.approx(0.4439, abs=5e-5), pytest.approx(0.9748, abs=5e-5))
    # 0 of n: the upper limit solves (1 - p)^n = 0.025.
    assert position_bias(0, 20) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert position_bias(20, 20) == (1.0, pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert all(math.isnan(value) for value in position_bias(0, 0))
    with pytest.raises(ValueError, match="between 0 and decisive"):
        position_bias(3, 2)
