"""Training on pairs that share a given first frame: that latent frame counts in no loss."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from test_every_family import one_clip
from tiny_cogvideox_image import random_cogvideox_image
from tiny_wan_image import BUILDS, random_wan_image

from densedpo.models import load_model
from densedpo.pairs import PairSettings
from densedpo.pairs.make import make_pairs
from densedpo.store.project import Project, ProjectSettings
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from densedpo.training.selection import load_dataset
from small_projects import give_labels

CASES = [*((random_wan_image, build) for build in BUILDS), (random_cogvideox_image, "1.5")]


@pytest.mark.parametrize(("random", "build"), CASES)
def test_a_clip_becomes_a_pair_and_the_pair_an_adapter(
    random: Callable[[Path, str], Path], build: str, tmp_path: Path
) -> None:
    folder = random(tmp_path / "model", build)
    model = load_model(str(folder), device="cpu")
    size = model.defaults
    shape = ProjectSettings(
        model=str(folder), width=size.width, height=size.height, frames=9, fps=size.fps, segment_seconds=2 / size.fps
    )
    project = Project.create(tmp_path / "project", shape)
    one_clip(project)
    make_pairs(project, model, PairSettings(steps=3, negative_prompt="", sampler="official"))
    (pair,) = project.pairs()
    give_labels(project, pair, "a", "b", segment_seconds=shape.segment_seconds)
    settings = TrainSettings(steps=2, batch=1, rank=2, save_every=2)
    (grid,) = load_dataset(project, model, settings).grids.values()
    assert grid.shape[1] == 2  # three latent frames, the first is given
    run = train(project, model, settings, "tiny").run
    first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy equals reference before the first step
    assert (run / "adapter" / "pytorch_lora_weights.safetensors").stat().st_size > 0
