import math

import numpy as np
import pytest

from densedpo.stats import (
    Interval,
    bootstrap_interval,
    group_means,
    mean_interval,
    paired_difference,
    proportion_interval,
)


def test_mean_interval_by_hand() -> None:
    # mean 3, sd sqrt(2.5), t(0.975, 4) = 2.776445: half-width 2.776445 * sqrt(2.5 / 5) = 1.963243
    result = mean_interval([1, 2, 3, 4, 5])
    assert (result.mean, result.n) == (3.0, 5)
    assert result.low == pytest.approx(3 - 1.963243, abs=1e-6)
    assert result.high == pytest.approx(3 + 1.963243, abs=1e-6)


def test_a_lower_level_gives_a_narrower_interval() -> None:
    # t(0.95, 4) = 2.131847
    assert mean_interval([1, 2, 3, 4, 5], level=0.90).high == pytest.approx(3 + 2.131847 * math.sqrt(0.5), abs=1e-6)


def test_one_value_has_a_mean_and_no_limits_and_none_has_neither() -> None:
    one, none = mean_interval([0.4]), mean_interval([])
    assert (one.mean, one.n, none.n) == (0.4, 1, 0)
    assert math.isnan(one.low) and math.isnan(one.high) and math.isnan(none.mean)
    assert not one.excludes(0.0)


def test_excludes() -> None:
    assert Interval(0.5, 0.1, 0.9, 9).excludes(0.0)
    assert Interval(-0.5, -0.9, -0.1, 9).excludes(0.0)
    assert not Interval(0.5, -0.1, 0.9, 9).excludes(0.0)


def test_what_was_not_measured_must_be_left_out() -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, math.nan])


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        mean_interval([1, 2], level=level)


def test_wilson_by_hand() -> None:
    # 8 of 10 at z = 1.959964: the textbook interval [0.4902, 0.9433]
    result = proportion_interval(8, 10)
    assert result.mean == 0.8
    assert (result.low, result.high) == (pytest.approx(0.49016, abs=1e-5), pytest.approx(0.94332, abs=1e-5))


def test_wilson_keeps_a_width_at_the_ends() -> None:
    none, all_of_them = proportion_interval(0, 10), proportion_interval(10, 10)
    assert none.low == 0.0 and none.high == pytest.approx(0.27753, abs=1e-5)
    assert all_of_them.high == 1.0 and all_of_them.low == pytest.approx(0.72247, abs=1e-5)


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert math.isnan(proportion_interval(0, 0).mean)
    with pytest.raises(ValueError, match="11 of 10"):
        proportion_interval(11, 10)


def test_group_means_in_order_of_first_appearance() -> None:
    assert group_means([1, 10, 3, 20], ["b", "a", "b", "a"]) == [2.0, 15.0]
    with pytest.raises(ValueError, match="one group per value"):
        group_means([1, 2], ["a"])


def test_paired_difference_clusters_seeds_within_a_prompt() -> None:
    # differences: prompt p 1 and 3 (mean 2), prompt q 4, prompt r 6. Means 2, 4, 6: mean 4, sd 2,
    # t(0.975, 2) = 4.302653: half-width 4.302653 * 2 / sqrt(3) = 4.968275. Unclustered the mean would be 3.5.
    result = paired_difference([0, 0, 1, 2], [1, 3, 5, 8], ["p", "p", "q", "r"])
    assert (result.mean, result.n) == (4.0, 3)
    assert result.low == pytest.approx(4 - 4.968275, abs=1e-6)
    assert result.high == pytest.approx(4 + 4.968275, abs=1e-6)


def test_repeating_every_seed_changes_nothing() -> None:
    base, other, groups = [0.1, 0.5, 0.3], [0.2, 0.9, 0.1], ["p", "q", "r"]
    once = paired_difference(base, other, groups)
    again = paired_difference(base * 4, other * 4, groups * 4)
    assert again == Interval(*(pytest.approx(x) for x in (once.mean, once.low, once.high)), once.n)


def test_swapping_sides_flips_the_interval() -> None:
    base, other, groups = [0.1, 0.5, 0.3, 0.7], [0.2, 0.9, 0.1, 0.8], [1, 2, 3, 4]
    forward, back = paired_difference(base, other, groups), paired_difference(other, base, groups)
    assert (back.mean, back.low, back.high) == pytest.approx((-forward.mean, -forward.high, -forward.low))


def test_pairing_removes_what_prompts_share() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 10, 40)
    base, other = difficulty + rng.normal(0, 0.1, 40), difficulty + 1 + rng.normal(0, 0.1, 40)
    paired = paired_difference(base.tolist(), other.tolist(), list(range(40)))
    assert paired.low > 0.9 and paired.high < 1.1
    assert mean_interval(base.tolist()).high - mean_interval(base.tolist()).low > 3


def test_unequal_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="1 base values and 2 others"):
        paired_difference([1], [1, 2], ["p"])


def test_bootstrap_agrees_with_t_on_many_values_and_repeats_itself() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400).tolist()
    student, bootstrap = mean_interval(values), bootstrap_interval(values)
    assert bootstrap == bootstrap_interval(values)
    assert (bootstrap.low, bootstrap.high) == pytest.approx((student.low, student.high), abs=0.02)
    assert bootstrap.mean == student.mean


def test_bootstrap_of_two_values_by_hand() -> None:
    # Means of resamples of {0, 1} are 0, 0.5, 1 with probability 1/4, 1/2, 1/4: a 95% interval is [0, 1], a 40% one 0.5
    assert bootstrap_interval([0, 1]) == Interval(0.5, 0.0, 1.0, 2)
    assert bootstrap_interval([0, 1], level=0.4) == Interval(0.5, 0.5, 0.5, 2)


def test_paired_difference_by_bootstrap() -> None:
    result = paired_difference([0, 0], [0, 1], ["p", "q"], method="bootstrap")
    assert result == Interval(0.5, 0.0, 1.0, 2)


def test_coverage_of_the_clustered_interval() -> None:
    """Over 1,000 simulated studies of 12 prompts x 4 seeds, a 95% interval holds the truth in 93.5 to 96.5%.

    Treating the 48 videos as independent would cover only about two in three.
    """
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 4).tolist()
    clustered = naive = 0
    for _ in range(1000):
        effect = 0.3 + np.repeat(rng.normal(0, 1, 12), 4) + rng.normal(0, 0.5, 48)
        base = rng.normal(0, 1, 48)
        other = base + effect
        clustered += not paired_difference(base.tolist(), other.tolist(), groups).excludes(0.3)
        naive += not mean_interval(effect.tolist()).excludes(0.3)
    assert 935 <= clustered <= 965
    assert naive < 800
