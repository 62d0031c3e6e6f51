"""The whole path with every family there is: a real clip, an aligned pair, labels, an adapter. Random weights."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_cogvideox import random_cogvideox
from tiny_hunyuan_video import random_hunyuan_video
from tiny_hunyuan_video15 import random_hunyuan_video15
from tiny_kandinsky5 import random_kandinsky5
from tiny_ltx import random_ltx, random_ltx_condition
from tiny_mochi import random_mochi
from tiny_sana_video import random_sana_video, random_sana_video_ltx2
from tiny_skyreels_v2 import random_skyreels_v2
from tiny_wan22 import random_a14b, random_ti2v

from densedpo.models.load import families, load_model
from densedpo.pairs import PairSettings
from densedpo.pairs.make import make_pairs
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, clip_id
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from densedpo.video.io import write_video
from small_projects import give_labels
from tiny_models import random_wan

# The module of the family, and how to build a checkpoint of it.
BUILDERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "wan-2.1": ("wan", random_wan),
    "wan-2.2-a14b": ("wan", random_a14b),
    "wan-2.2-ti2v": ("wan", random_ti2v),
    "cogvideox-2b": ("cogvideox", functools.partial(random_cogvideox, kind="2b")),
    "cogvideox-1.5": ("cogvideox", functools.partial(random_cogvideox, kind="1.5")),
    "ltx": ("ltx", random_ltx),
    "ltx-0.9.5": ("ltx_condition", random_ltx_condition),
    "mochi": ("mochi", random_mochi),
    "hunyuan-video": ("hunyuan_video", random_hunyuan_video),
    "hunyuan-video-1.5": ("hunyuan_video15", random_hunyuan_video15),
    "skyreels-v2": ("skyreels_v2", random_skyreels_v2),
    "kandinsky-5": ("kandinsky5", random_kandinsky5),
    "sana-video-480p": ("sana_video", random_sana_video),
    "sana-video-720p": ("sana_video", random_sana_video_ltx2),
}
# These animate a clip's first frame: see test_first_frame_pairs.py.
FROM_A_FIRST_FRAME = {"wan_image", "cogvideox_image"}


def test_every_family_is_here() -> None:
    assert {module for module, _ in BUILDERS.values()} | FROM_A_FIRST_FRAME == {
        module.__name__.rpartition(".")[2] for module in families().values()
    }


def one_clip(project: Project) -> None:
    size = project.settings
    noise = np.random.default_rng(0).integers(0, 256, (size.frames, size.height, size.width, 3), dtype=np.uint8)
    file = project.root / "clip.mp4"
    write_video(file, noise, size.fps)
    media, shape = project.adopt(file), (size.frames, size.fps, size.width, size.height)
    row = Clip(
        id=clip_id("one file", 0, *shape),
        media=media,
        caption="a red circle moves",
        frames=size.frames,
        fps=size.fps,
        width=size.width,
        height=size.height,
        source="test",
        licence="CC0",
        split="train",
        origin="clip.mp4",
    )
    project.add_clips([row])


@pytest.mark.filterwarnings("ignore:.*autocast.*:UserWarning")  # Mochi's rotary tables, on a CPU
@pytest.mark.parametrize("name", BUILDERS)
def test_a_clip_becomes_a_pair_and_the_pair_an_adapter(name: str, tmp_path: Path) -> None:
    folder = BUILDERS[name][1](tmp_path / "model")
    model = load_model(str(folder), device="cpu")
    size = model.defaults
    shape = ProjectSettings(
        model=str(folder),
        width=size.width,
        height=size.height,
        frames=size.frames,
        fps=size.fps,
        segment_seconds=2 / size.fps,
    )
    project = Project.create(tmp_path / "project", shape)
    one_clip(project)
    made = make_pairs(project, model, PairSettings(steps=3, negative_prompt=""))
    assert made.planned == 1
    (pair,) = project.pairs()
    assert pair.eta == pytest.approx(model.process.nearest(_as_tensor(pair.eta)).item())
    assert 0.0 < pair.distance < 10.0
    give_labels(project, pair, "a", "b", segment_seconds=shape.segment_seconds)
    run = train(project, model, TrainSettings(steps=2, batch=1, rank=2, save_every=2), "tiny").run
    first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy equals reference before the first step
    assert (run / "adapter" / "pytorch_lora_weights.safetensors").stat().st_size > 0


def _as_tensor(value: float | None) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)
