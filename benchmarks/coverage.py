"""How often intervals hold the truth: `python benchmarks/coverage.py --studies 4000 --bootstrap-studies 400`.

Simulated evaluations in which the true difference is known, at 30, 50 and 400 prompts with 1, 2 and 4 seeds each, for
three kinds of metric: `normal`; `skewed` (a prompt gains what an exponential draw says); `yes or no` (a share of
videos, such as dynamic degree). Prints each method's coverage, its Monte Carlo error, and what pairing gains.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from densedpo.stats import Interval, bootstrap_interval, mean_interval, paired_difference, proportion_interval

PROMPTS, SEEDS = (30, 50, 400), (1, 2, 4)
Study = tuple[NDArray[np.float64], NDArray[np.float64], float]  # base and other [prompts, seeds], true difference


def normal(rng: np.random.Generator, prompts: int, seeds: int) -> Study:
    """Prompts differ by 1, their gains by 0.5 around 0.2, videos of one prompt by 0.5."""
    base = rng.normal(0, 1, (prompts, 1)) + rng.normal(0, 0.5, (prompts, seeds))
    gain = rng.normal(0.2, 0.5, (prompts, 1))
    other = base - rng.normal(0, 0.3, (prompts, seeds)) + gain
    return base, other, 0.2


def skewed(rng: np.random.Generator, prompts: int, seeds: int) -> Study:
    """As `normal`, but gains are exponential with mean 0.5: many small ones, a few large."""
    base = rng.normal(0, 1, (prompts, 1)) + rng.normal(0, 0.5, (prompts, seeds))
    other = base + rng.exponential(0.5, (prompts, 1)) + rng.normal(0, 0.3, (prompts, seeds))
    return base, other, 0.5


def yes_or_no(rng: np.random.Generator, prompts: int, seeds: int) -> Study:
    """Each prompt has its own chance of a dynamic video; the other contestant's is 0.9 of it."""
    chance = rng.beta(4, 1, (prompts, 1))
    base = rng.random((prompts, seeds)) < chance
    other = rng.random((prompts, seeds)) < 0.9 * chance
    return base.astype(float), other.astype(float), -0.1 * 4 / 5


KINDS: dict[str, Callable[[np.random.Generator, int, int], Study]] = {
    "normal": normal,
    "skewed": skewed,
    "yes or no": yes_or_no,
}


def coverage(kind: str, prompts: int, seeds: int, studies: int, method: str, draws: int = 1000) -> float:
    """Share of studies whose 95% interval of the paired difference holds the truth."""
    rng = np.random.default_rng([prompts, seeds, len(kind), len(method)])
    groups = np.repeat(np.arange(prompts), seeds).tolist()
    held = 0
    for study in range(studies):
        base, other, truth = KINDS[kind](rng, prompts, seeds)
        if method == "t":
            found = paired_difference(base.ravel().tolist(), other.ravel().tolist(), groups)
        else:
            found = bootstrap_interval((other - base).mean(axis=1).tolist(), draws=draws, seed=study)
        held += not found.excludes(truth)
    return held / studies


def wilson_coverage(prompts: int, share: float, studies: int) -> float:
    """As `coverage`, of a share of prompts won."""
    rng = np.random.default_rng([prompts, int(100 * share)])
    won = rng.binomial(prompts, share, studies)
    return float(np.mean([not proportion_interval(int(wins), prompts).excludes(share) for wins in won]))


def pairing_gain(kind: str, prompts: int, seeds: int, studies: int) -> float:
    """Width of the interval that ignores who was paired with whom, over that of the paired one."""
    rng = np.random.default_rng([prompts, seeds, 7])
    ratios = []
    for _ in range(studies):
        base, other, _ = KINDS[kind](rng, prompts, seeds)
        sides = [width(mean_interval(side.mean(axis=1).tolist())) for side in (base, other)]
        ratios.append(math.hypot(*sides) / width(mean_interval((other - base).mean(axis=1).tolist())))
    return float(np.mean(ratios))


def width(interval: Interval) -> float:
    return interval.high - interval.low


def lines(studies: int, bootstrap_studies: int) -> Iterator[str]:
    for method, count in (("t", studies), ("bootstrap", bootstrap_studies)):
        yield f"{method}: coverage in % (standard error {100 * math.sqrt(0.95 * 0.05 / count):.1f})"
        for kind in KINDS:
            cells = [f"{n} x {s}: {100 * coverage(kind, n, s, count, method):.1f}" for n in PROMPTS for s in SEEDS]
            yield f"  {kind:10s} " + "  ".join(cells)
    yield "Wilson interval of a share of prompts: coverage in %"
    for share in (0.1, 0.5, 0.8):
        cells = [f"{n}: {100 * wilson_coverage(n, share, studies):.1f}" for n in PROMPTS]
        yield f"  share {share}  " + "  ".join(cells)
    yield "an unpaired interval is so many times as wide (50 prompts, 2 seeds)"
    for kind in KINDS:
        yield f"  {kind:10s} {pairing_gain(kind, 50, 2, 200):.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--bootstrap-studies", type=int, default=400)
    asked = parser.parse_args()
    for line in lines(asked.studies, asked.bootstrap_studies):
        print(line, flush=True)
