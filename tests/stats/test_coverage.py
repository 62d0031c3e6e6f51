"""A short run of the coverage simulation that `benchmarks/coverage.py` does at length."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    file = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_simulation", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["normal", "skewed", "yes or no"])
@pytest.mark.parametrize(("prompts", "seeds"), [(50, 1), (50, 4)])
def test_the_default_interval_holds_the_truth(simulation: ModuleType, kind: str, prompts: int, seeds: int) -> None:
    """1,000 studies: the limits are 93 and 97 percent, give or take two Monte Carlo errors of 0.7."""
    assert 0.916 <= simulation.coverage(kind, prompts, seeds, 1000, "t") <= 0.984


def test_few_prompts_and_the_bootstrap_cover_less(simulation: ModuleType) -> None:
    """What the documentation says of 5 values: a bootstrap interval covers about 84%, far from 95."""
    covered = simulation.coverage("normal", 5, 1, 400, "bootstrap", draws=300)
    assert 0.76 <= covered <= 0.90


def test_pairing_narrows_the_interval(simulation: ModuleType) -> None:
    """Where prompts differ more than gains do, an unpaired study would need several times as many prompts."""
    assert simulation.pairing_gain("normal", 50, 2, 50) > 2
