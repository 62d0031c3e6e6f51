"""Tests of paired differences, worked by hand or against scipy.stats."""

import math

import numpy as np
import pytest
from scipy import stats

from densedpo.stats.paired import holm, keeps, smallest_detectable, t_test


def test_t_test_by_hand() -> None:
    """1, 2, 3: mean 2, sd 1, t = 2 sqrt(3) = 3.4641 with 2 degrees: p = 1 - t / sqrt(t^2 + 2) = 0.074180."""
    assert t_test([1, 2, 3]) == pytest.approx(1 - math.sqrt(12) / math.sqrt(14), abs=1e-9)
    assert t_test([1, 2, 3], side=1) == pytest.approx(t_test([1, 2, 3]) / 2)
    assert t_test([-1, -2, -3], side=1) == pytest.approx(1 - t_test([1, 2, 3]) / 2)


def test_t_test_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 40)
    assert t_test(values.tolist()) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
    above = stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert t_test(values.tolist(), side=1) == pytest.approx(above, rel=1e-9)


def test_t_test_at_its_edges() -> None:
    assert math.isnan(t_test([1.0]))
    assert t_test([0.0, 0.0, 0.0]) == 1
    assert t_test([0.5, 0.5, 0.5]) == 0
    assert t_test([-0.5, -0.5], side=1) == 1


def test_holm_by_hand() -> None:
    """0.01 * 4, 0.02 * 3, 0.03 * 2 = 0.06 (not below the one before), 0.04 * 1 raised to 0.06."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with_gap = holm([0.02, math.nan, 0.03])
    assert with_gap[0] == pytest.approx(0.04) and math.isnan(with_gap[1]) and with_gap[2] == pytest.approx(0.04)


def test_holm_keeps_false_findings_rare() -> None:
    """20 true null hypotheses: raw p values find something in 64% of studies, Holm's in 5%."""
    rng = np.random.default_rng(0)
    p = rng.random((2000, 20))
    assert np.mean([min(holm(row.tolist())) < 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p.min(axis=1) < 0.05) > 0.6


def test_smallest_detectable_is_found_with_the_power_told() -> None:
    """Simulated: with a true mean of that size, four studies in five find it."""
    rng = np.random.default_rng(1)
    sample = rng.normal(0, 1, 50)
    sample = ((sample - sample.mean()) / sample.std(ddof=1)).tolist()
    size = smallest_detectable(sample)
    assert size == pytest.approx((2.0096 + 0.8486) / math.sqrt(50), rel=0.01)  # t(0.975, 49) + t(0.8, 49)
    found = [t_test(rng.normal(size, 1, 50).tolist()) < 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
    assert math.isnan(smallest_detectable([1.0]))


def test_smallest_detectable_shrinks_with_the_root_of_the_prompts() -> None:
    few, many = ([1.0, -1.0] * k for k in (50, 200))
    assert smallest_detectable(few) / smallest_detectable(many) == pytest.approx(2, rel=0.02)


def test_keeps_by_hand() -> None:
    """Base 10, 20, 30 and other 9.5, 19, 28.5 keep 95%: surpluses over 90% are 0.5, 1, 1.5: mean 1, sd 0.5.

    t(0.975, 2) = 4.302653, half-width 4.302653 * 0.5 / sqrt(3) = 1.242: the three prompts do not show it.
    """
    kept = keeps([10, 20, 30], [9.5, 19, 28.5], ["a", "b", "c"], 0.1)
    assert kept.surplus.mean == pytest.approx(1)
    assert kept.surplus.low == pytest.approx(1 - 1.242069, abs=1e-5)
    assert kept.ratio == pytest.approx(0.95) and not kept.holds
    assert kept.p == pytest.approx(t_test([0.5, 1, 1.5], side=1))


def test_keeps_what_is_equal_and_not_what_is_lost() -> None:
    base = np.random.default_rng(0).uniform(1, 2, 60)
    groups = list(range(60))
    assert keeps(base.tolist(), base.tolist(), groups, 0.05).holds
    assert not keeps(base.tolist(), (0.9 * base).tolist(), groups, 0.05).holds
    assert keeps([0.0, 0.0], [0.0, 0.0], ["a", "b"], 0.05).ratio is None
    with pytest.raises(ValueError, match="margin"):
        keeps([1.0], [1.0], ["a"], 1.0)


def test_non_inferiority_is_claimed_wrongly_in_two_and_a_half_percent() -> None:
    """The truth lies exactly at the margin: 90% is kept, and 90% is asked."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(50), 2).tolist()
    wrong = 0
    for _ in range(600):
        base = np.repeat(rng.uniform(1, 3, 50), 2) + rng.normal(0, 0.3, 100)
        other = 0.9 * base + rng.normal(0, 0.3, 100)
        wrong += keeps(base.tolist(), other.tolist(), groups, 0.1).holds
    assert 0.008 <= wrong / 600 <= 0.045
