"""Win, tie, lose and Bradley-Terry, worked by hand or against scipy."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from densedpo.stats.outcomes import PRIOR, bradley_terry, sign_test, win_tie_lose


def test_win_tie_lose_by_hand() -> None:
    found = win_tie_lose([0.3, 0.05, -0.05, -0.2, 0.4, 0.0], tie_band=0.05)
    assert (found.wins, found.ties, found.losses) == (2, 3, 1)
    assert found.win_share.mean == pytest.approx(1 / 3) and found.win_share.n == 6
    assert found.lose_share.mean == pytest.approx(1 / 6)
    # Two wins, one loss: P(at most 1 of 3) = 4/8, twice that is 1.
    assert found.p == 1


def test_exact_equality_is_a_tie() -> None:
    found = win_tie_lose([0.0, 0.0, 1e-12])
    assert (found.wins, found.ties, found.losses) == (1, 2, 0)


def test_the_sign_test_is_the_exact_binomial_one() -> None:
    for wins, losses in ((9, 1), (0, 5), (30, 30), (40, 20)):
        assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, rel=1e-9)
    assert sign_test(0, 0) == 1
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="band"):
        win_tie_lose([1.0], tie_band=-1)
    with pytest.raises(ValueError, match="finite"):
        win_tie_lose([math.nan])
    with pytest.raises(ValueError, match=r"\[N, K, K\]"):
        bradley_terry(np.zeros((3, 2)))


def test_bradley_terry_of_two_by_hand() -> None:
    """3 wins and 1 loss, with half a win added each way: 3.5 to 1.5, so the strengths differ by log(3.5 / 1.5)."""
    games = np.zeros((4, 2, 2))
    games[:3, 0, 1] = 1
    games[3, 1, 0] = 1
    one, two = bradley_terry(games)
    assert one.mean - two.mean == pytest.approx(math.log(3.5 / 1.5), abs=1e-9)
    assert one.mean + two.mean == pytest.approx(0, abs=1e-12)
    assert one.low < one.mean < one.high and one.n == 4


def played(strengths: np.ndarray, prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Every two contestants meet on every prompt; returns wins [prompts, K, K]."""
    k = len(strengths)
    chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    won = np.triu(rng.random((prompts, k, k)) < chance, 1)
    lost = np.triu(~won, 1) & np.triu(np.ones((k, k), bool), 1)
    return (won + lost.transpose(0, 2, 1)).astype(float)


def test_bradley_terry_agrees_with_a_general_optimiser() -> None:
    wins = played(np.array([0.8, 0.1, -0.2, -0.7]), 80, np.random.default_rng(0))
    total = wins.sum(axis=0) + PRIOR * (1 - np.eye(4))

    def loss(s: np.ndarray) -> float:
        return float((total * np.log1p(np.exp(s[None, :] - s[:, None]))).sum() + 0.5 * s.sum() ** 2)

    expected = minimize(loss, np.zeros(4), tol=1e-10).x
    assert [found.mean for found in bradley_terry(wins)] == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_bradley_terry_intervals_cover_the_truth() -> None:
    truth = np.array([0.6, 0.0, -0.6])
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(60):
        found = bradley_terry(played(truth, 100, rng), seed=seed)
        covered += [not interval.excludes(s) for interval, s in zip(found, truth, strict=True)]
    assert np.mean(covered) > 0.9


def test_ties_and_a_contestant_who_never_lost() -> None:
    ties = np.full((10, 3, 3), 0.5)
    assert [found.mean for found in bradley_terry(ties)] == pytest.approx([0, 0, 0], abs=1e-12)
    sweep = np.zeros((10, 2, 2))
    sweep[:, 0, 1] = 1
    best, worst = bradley_terry(sweep)
    assert best.mean - worst.mean == pytest.approx(math.log(10.5 / 0.5))
    assert bradley_terry(sweep) == [best, worst]
    assert math.isnan(bradley_terry(sweep[:1])[0].low)
