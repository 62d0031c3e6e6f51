"""How long a training run takes to know what it learns from, and how much memory that costs, as a project grows.

    python benchmarks/training_start.py [--pairs 10000 100000 1000000]

The pairs and their labels (one annotator, every segment) are real rows of a real project, and each pair has a prompt of
its own, which is worst; all share one file of latents. A prompt's encoding is an empty file, for the start only looks
which are there. Two prompts have none, and are found. Each size is measured in a process of its own. (Linux: the peak
of memory is read from /proc.)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from densedpo.chunks import batched
from densedpo.diffusion.seeds import noise
from densedpo.models import load_model
from densedpo.models.encoded import save_tensors
from densedpo.store import tables
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Label, Pair, content_id, recipe_id
from densedpo.store.tables import values_of
from densedpo.training import TrainSettings
from densedpo.training.data import load_batch, slots_of
from densedpo.training.selection import load_dataset

SEGMENTS = 4
UNENCODED = (0, 7)
BOUNDS = {"seconds": 30.0, "MiB": 1024.0}


def make(root: Path, count: int) -> None:
    """A project of so many labelled pairs."""
    project = Project.create(root, ProjectSettings())
    model = load_model(project.settings.model)
    file, shape = project.cache_folder("making") / "pair.safetensors", project.settings
    size = model.latent_shape(shape.frames, shape.height, shape.width)
    save_tensors(file, {side: noise(size, side) for side in ("a", "b")})
    latents = project.adopt(file, "latents")
    prompts = project.cache_folder("prompts") / model.model_hash
    prompts.mkdir()
    pair = values_of(
        Pair(
            id="", recipe={}, clip=None, prompt="", mode="guided", split="train", frames=shape.frames, fps=shape.fps,
            width=shape.width, height=shape.height, eta=0.7, model_hash=model.model_hash, vae_hash=model.vae_hash,
            media_a="", media_b="", latents=latents, distance=1.0, near_identical=False,
        )
    )  # fmt: skip
    label = values_of(
        Label.make(
            pair="", segment=0, segment_seconds=1.0, choice="tie", seen="s", annotator_kind="human",
            annotator="someone",
        )
    )  # fmt: skip
    for numbers in batched(range(count), 20_000):
        pairs, labels = [], []
        for number in numbers:
            recipe, prompt = {"benchmark": number}, f"a red circle moves, number {number}"
            id, media = recipe_id(recipe), {"media_a": f"{2 * number:064x}", "media_b": f"{2 * number + 1:064x}"}
            pairs.append(pair | media | {"id": id, "recipe": recipe, "prompt": prompt})
            if number not in UNENCODED:
                os.close(os.open(prompts / f"{content_id(prompt, str(model.dtype))}.safetensors", os.O_CREAT))
            for s in range(SEGMENTS):
                told = {"segment": s, "choice": ("a", "b", "tie")[(number + s) % 3]}
                labels.append(label | told | {"id": content_id(id, s), "pair": id})
        with project._engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA cache_size=-500000")  # KiB
            connection.execute(sa.insert(tables.pair), pairs)
            connection.execute(sa.insert(tables.label), labels)


def peak() -> float:
    """The most memory this process had, in MiB."""
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(root: Path) -> None:
    """From an open project to the first batch."""
    project = Project.open(root)
    model = load_model(project.settings.model)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = peak()
    began, worked = time.perf_counter(), time.process_time()
    settings = TrainSettings()
    dataset = load_dataset(project, model, settings)
    load_batch(slots_of(dataset, 0, settings))
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    grown = peak() - before
    assert len(dataset.unencoded) == len(UNENCODED), dataset.unencoded
    print(
        f"{len(dataset):9,} pairs: {seconds:6.1f} s to the first batch ({worked:.1f} s of CPU; at most "
        f"{BOUNDS['seconds']:.0f}), {grown:6.0f} MiB more (at most {BOUNDS['MiB']:.0f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    for count in args.pairs:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "project", count)
            subprocess.run([sys.executable, __file__, "--measure", str(Path(folder) / "project")], check=True)


if __name__ == "__main__":
    main()
