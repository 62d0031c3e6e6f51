"""Memory stays flat however many segments there are. The long form is `benchmarks/vlm_judge.py --memory 100000`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "vlm_judge.py"


@pytest.mark.long
def test_memory_is_flat_over_many_segments() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--memory", "5000"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["segments"] == 5_000
    assert found["growth_over_the_second_half"] < 4  # megabytes; 2500 questions that stay would be more
