"""How much pair generation costs over the bare work, and against diffusers' own video-to-video pipeline.

    python benchmarks/pairs.py [--pairs 8] [--rounds 7]

On the embedded tiny model, on one CPU thread. The ways to the same videos are taken in turn and compared by medians of
processor time, which other programs on the machine disturb little:

- stage: the whole of `make_pairs`, from clips and captions to the files and rows of a new project;
- ours: its encoding and generation, from a clip's pixels to two videos' pixels;
- floor: as many denoiser forwards, encodes and decodes, called bare in whichever batch is cheapest a row;
- theirs: for each pair two calls of `WanVideoToVideoPipeline` from the same noise level in as many steps, without its
  captions and without writing anything.

Prints a JSON object: seconds of each, the ratios, each part's share of the stage beside the floor's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from diffusers import WanVideoToVideoPipeline
from numpy.typing import NDArray

import densedpo.pairs.make as stage
from densedpo.models import load_model
from densedpo.models.wan import WanModel
from densedpo.models.wan_vae import decode_clips, encode_clips
from densedpo.pairs import PairSettings
from densedpo.pairs.generate import generate_pairs
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, clip_id
from densedpo.tinyworld import world
from densedpo.video.io import write_video

STRENGTH = 0.75  # the share of the schedule's steps that is run
MEMBERS, BRANCHES = 2, 2  # of a pair; of guidance
ROWS_AT_ONCE = (1, 4, 8, 16, 32)  # that the floor may choose from


def new_project(root: Path, pairs: int) -> Project:
    """A project with one clip of the tiny world a pair."""
    project = Project.create(root, ProjectSettings())
    shape = (world.FRAMES, world.FPS, world.SIZE, world.SIZE)
    for number in range(pairs):
        scene, file = world.draw_scene(7, number), root / "clip.mp4"
        write_video(file, world.render(scene), world.FPS)
        clip = Clip(
            id=clip_id(f"scene {number}", 0, *shape),
            media=project.adopt(file),
            caption=scene.attributes.caption,
            frames=world.FRAMES,
            fps=world.FPS,
            width=world.SIZE,
            height=world.SIZE,
            source="tiny world",
            licence="CC0",
            split="train",
            origin=f"{number}.mp4",
        )
        project.add_clips([clip])
    return project


class Parts:
    """Seconds of processor time by part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to a part."""

        def run(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - began

        return run

    @contextmanager
    def watching(self, model: WanModel) -> Iterator[None]:
        """Time the parts of a model and the writing of videos for as long as the block lasts."""
        named = {"captions": "encode_text", "encode": "encode", "denoiser": "predict", "decode": "decode"}
        for part, method in named.items():
            setattr(model, method, self.timed(part, getattr(model, method)))
        with (
            patch.object(stage, "generate_pairs", self.timed("generation", generate_pairs)),
            patch.object(stage, "write_video", self.timed("video files", write_video)),
        ):
            yield
        for method in named.values():
            delattr(model, method)


def run_stage(model: WanModel, clips: Path, settings: PairSettings) -> Parts:
    """The whole stage in a fresh copy of a project that has clips; "stage" is all of it, "generation" a part."""
    parts = Parts()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(clips, folder, dirs_exist_ok=True)
        project = Project.open(Path(folder))
        with parts.watching(model):
            report = parts.timed("stage", stage.make_pairs)(project, model, settings)
    assert report.made == settings.count
    return parts


class Floor:
    """The bare work of `pairs` pairs of `steps` steps each."""

    def __init__(self, model: WanModel, video: NDArray[np.uint8], steps: int) -> None:
        self.model, self.pairs = model, len(video)
        pixels = torch.from_numpy(video).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        latents = torch.from_numpy(model.encode(video[:1]).numpy())
        text = model.encode_text([""]).tensors["text"]
        widest = max(ROWS_AT_ONCE)
        self.noisy, self.text = (tensor.repeat(widest, *[1] * (tensor.ndim - 1)) for tensor in (latents, text))
        self.sigma = torch.full((widest,), 0.5)
        self.pixels = pixels[:1].repeat(widest, 1, 1, 1, 1)
        self.work: dict[str, tuple[int, Callable[[int], Any]]] = {
            "denoiser": (self.pairs * MEMBERS * BRANCHES * steps, self._forward),
            "encode": (self.pairs, lambda rows: encode_clips(model.vae, self.pixels[:rows])),
            "decode": (self.pairs * MEMBERS, lambda rows: decode_clips(model.vae, self.noisy[:rows])),
        }
        self.rows = {part: self._cheapest(total, call) for part, (total, call) in self.work.items()}

    def _forward(self, rows: int) -> None:
        self.model.denoiser(
            hidden_states=self.noisy[:rows],
            timestep=self.sigma[:rows] * 1000,
            encoder_hidden_states=self.text[:rows],
            return_dict=False,
        )

    @torch.no_grad()
    def _cheapest(self, total: int, call: Callable[[int], Any]) -> int:
        """How many rows at once cost the least each; the candidates are taken in turn."""
        costs: dict[int, list[float]] = {rows: [] for rows in ROWS_AT_ONCE if rows <= total}
        for _ in range(8):
            for rows, taken in costs.items():
                taken.append(seconds(partial(call, rows)) / rows)
        return min(costs, key=lambda rows: median(costs[rows][1:]))  # the first is to warm up

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """All of it, nothing else; seconds of each part."""
        parts = Parts()
        for part, (total, call) in self.work.items():
            for done in range(0, total, self.rows[part]):
                parts.timed(part, call)(min(self.rows[part], total - done))
        return parts.seconds


def theirs(pipeline: WanVideoToVideoPipeline, model: WanModel, video: NDArray[np.uint8], steps: int) -> None:
    """Two calls for each pair."""
    text, empty = model.encode_text([""]).tensors["text"], model.encode_text([""]).tensors["text"]
    for clip in video:
        for member in range(MEMBERS):
            pipeline(
                video=list(clip.astype(np.float32) / 255),
                prompt_embeds=text,
                negative_prompt_embeds=empty,
                height=world.SIZE,
                width=world.SIZE,
                num_inference_steps=steps,
                strength=STRENGTH,
                guidance_scale=model.defaults.guidance,
                generator=torch.Generator().manual_seed(member),
            )


def seconds(call: Callable[[], Any]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def video_to_video(model: WanModel) -> WanVideoToVideoPipeline:
    """diffusers' pipeline around the very same network and autoencoder."""
    names = ("tokenizer", "text_encoder", "transformer", "vae", "scheduler")
    pipeline = WanVideoToVideoPipeline(**{name: model.pipeline.components[name] for name in names})
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae_scale_factor_spatial = model.spatial_factor  # it counts halvings and does not know of patches
    return pipeline


def measure(pairs: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Take the three in turn, `rounds` times after one to warm up."""
    model = load_model("tinyworld", device="cpu")
    assert isinstance(model, WanModel)
    steps = model.defaults.steps
    settings = PairSettings(count=pairs, eta_unit="step_fraction", eta_low=STRENGTH, eta_high=STRENGTH)
    new_project(folder, pairs)
    video = np.stack([world.render(world.draw_scene(7, number)) for number in range(pairs)])
    floor, pipeline = Floor(model, video, round(STRENGTH * steps)), video_to_video(model)
    stages: list[dict[str, float]] = []
    floors: list[dict[str, float]] = []
    rivals: list[float] = []
    for _ in range(rounds + 1):
        stages.append(run_stage(model, folder, settings).seconds)
        floors.append(floor.run())
        rivals.append(seconds(lambda: theirs(pipeline, model, video, steps)))
    return summary(stages[1:], floors[1:], rivals[1:]) | {"rows at once of the floor": floor.rows}


def summary(stages: list[dict[str, float]], floors: list[dict[str, float]], rivals: list[float]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within a round."""
    ours = [stage["encode"] + stage["generation"] for stage in stages]
    bare = [sum(floor.values()) for floor in floors]
    whole = [stage["stage"] for stage in stages]
    taken = {"stage": whole, "ours": ours, "floor": bare, "theirs": rivals}
    shares = {
        part: median(stage[part] / stage["stage"] for stage in stages)
        for part in stages[0]
        if part not in ("stage", "generation")
    }
    return {
        "rounds": len(stages),
        "seconds": {name: round(median(values), 3) for name, values in taken.items()},
        "ours / floor": round(median(o / f for o, f in zip(ours, bare, strict=True)), 3),
        "stage / floor": round(median(w / f for w, f in zip(whole, bare, strict=True)), 3),
        "theirs / stage": round(median(t / w for t, w in zip(rivals, whole, strict=True)), 3),
        "shares of the stage": {part: round(share, 4) for part, share in shares.items()}
        | {"everything else": round(1 - sum(shares.values()), 4)},
        "seconds of the stage": {part: round(median(s[part] for s in stages), 3) for part in stages[0]},
        "seconds of the floor": {part: round(median(f[part] for f in floors), 3) for part in floors[0]},
    }


def main() -> None:
    """Parse the arguments, measure in a temporary folder, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8, help="pairs made, in batches of the default size")
    parser.add_argument("--rounds", type=int, default=7, help="how often each way is taken")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments.pairs, arguments.rounds, Path(folder) / "project"), indent=2))


if __name__ == "__main__":
    main()
