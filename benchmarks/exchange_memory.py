"""Time and memory of exporting and importing many labels: the memory must not grow with their number.

    python benchmarks/exchange_memory.py --labels 100000

Every step runs in a process of its own; prints a JSON line for each, with its peak of memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "store"))

from store_rows import SETTINGS, label, pair

from densedpo.store.exchange import export_opinions, import_opinions
from densedpo.store.project import Project

PER_PAIR = 8


def main() -> None:
    """Run the steps, or, with --step, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        step(*asked.step)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(Project.create(folder / "source", SETTINGS), asked.labels)
        for format in ("parquet", "jsonl"):
            Project.create(folder / format, SETTINGS)
            for what, project in (("export", "source"), ("import", format)):
                command = [sys.executable, __file__, "--step", what, format, str(folder / project)]
                subprocess.run(command, check=True)


def fill(project: Project, count: int) -> None:
    """So many labels, eight for each pair."""
    for start in range(0, count, 20_000):
        numbers = range(start, min(start + 20_000, count))
        pairs = [pair(number, prompt=f"prompt {number}") for number in numbers[::PER_PAIR]]
        project.add_pairs(pairs)
        places = ((number % PER_PAIR, pairs[(number - start) // PER_PAIR]) for number in numbers)
        project.add_labels(label(of, place % 4, annotator=f"ann {place // 4}", comment="x") for place, of in places)


def step(what: str, format: str, root: str) -> None:
    """One export or import; its seconds, megabytes before and at most, and the file's megabytes."""
    project, file = Project.open(Path(root)), Path(root).parent / f"labels.{format}"
    before, started = peak(), time.perf_counter()
    if what == "export":
        count = export_opinions(project, file, format).labels  # type: ignore[arg-type]
    else:
        count = import_opinions(project, file, format).labels  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    told = {"what": what, "format": format, "labels": count, "seconds": round(seconds, 1)}
    size = round(file.stat().st_size / 1e6, 1)
    print(json.dumps({**told, "mb_before": before, "mb_peak": peak(), "mb_file": size}), flush=True)


def peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()
