"""For the tests of the stages: projects of 9 frames of 48x48 at 8 fps, a model with random weights, what runs leave."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import WanPipeline
from safetensors.torch import load_file
from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.models import load_model
from densedpo.models.encoded import save_tensors
from densedpo.models.wan import WanModel
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, clip_id, recipe_id
from densedpo.video.io import Frames, write_video

LATENT_SHAPE = (8, 3, 6, 6)
CAPTIONS = ("a red circle moves left", "a blue square moves down", "a green triangle moves right")
SECONDS = 0.5  # two segments: frames 0 to 3 and 4 to 8, so latent frame 1 (frames 1 to 4) is cut 3 to 1


@functools.cache
def model_at(folder: Path) -> WanModel:
    """The model in `folder`, loaded once for all tests: whoever changes it puts it back."""
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, WanModel)
    return model


@functools.cache
def pipeline_at(folder: Path) -> WanPipeline:
    """The same model as diffusers itself loads it."""
    pipeline = WanPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def empty_project(root: Path, model_folder: Path, **changes: Any) -> Project:
    values = {"model": str(model_folder), "frames": 9, "fps": 8.0, "segment_seconds": SECONDS, **changes}
    return Project.create(root, ProjectSettings(**values))


def project_with_clips(root: Path, model_folder: Path, clips: int = 3) -> Project:
    """A project of `clips` clips in the train split, the same ones every time."""
    project = empty_project(root, model_folder)
    for number in range(clips):
        file = root / "clip.mp4"
        write_video(file, _stripes(number), 8.0)
        media = project.adopt(file)
        row = Clip(
            id=clip_id(f"file {number}", 0, 9, 8, 48, 48),
            media=media,
            caption=CAPTIONS[number % len(CAPTIONS)],
            frames=9,
            fps=8.0,
            width=48,
            height=48,
            source="test",
            licence="CC0",
            split="train",
            origin=f"{number}.mp4",
        )
        project.add_clips([row])
    return project


def _stripes(number: int) -> Frames:
    """Moving stripes, another colour and speed for each number."""
    x, t = np.arange(48)[None, None, :, None], np.arange(9)[:, None, None, None]
    phase = np.array([0.0, 1.0, 2.0]) * (number + 1)
    waves = 128 + 100 * np.sin(x / 4 + t * (0.3 + 0.4 * number) + phase)
    return np.broadcast_to(waves, (9, 48, 48, 3)).astype(np.uint8)


def plant_pair(project: Project, number: int, mode: str = "guided", latents: bool = True, **changes: Any) -> Pair:
    """Add a pair as if the project's model had made it: two latents that differ, no videos."""
    model = model_at(Path(project.settings.model))
    recipe = {"planted": number, "mode": mode}
    digest = None
    if latents:
        file = project.cache_folder("planting") / "pair.safetensors"
        size = (changes.get("frames", 9), changes.get("height", 48), changes.get("width", 48))
        members = {side: noise(model.latent_shape(*size), "planted", number, mode, side) for side in ("a", "b")}
        save_tensors(file, members)
        digest = project.adopt(file, "latents")
    values: dict[str, Any] = {
        "id": recipe_id(recipe),
        "recipe": recipe,
        "clip": None,
        "prompt": CAPTIONS[number % len(CAPTIONS)],
        "mode": mode,
        "split": "train",
        "frames": 9,
        "fps": 8.0,
        "width": 48,
        "height": 48,
        "eta": 0.7 if mode == "guided" else None,
        "model_hash": model.model_hash,
        "vae_hash": model.vae_hash,
        "media_a": f"{2 * number:064x}",
        "media_b": f"{2 * number + 1:064x}",
        "latents": digest,
        "distance": 1.0,
        "near_identical": False,
    }
    row = Pair(**values | changes)
    project.add_pairs([row])
    return row


def give_labels(project: Project, pair: Pair, *choices: str, whole: str | None = None, **changes: Any) -> None:
    """Label the first segments of a pair with `choices` ("" passes over one), and the whole video with `whole`."""
    values = {"segment_seconds": SECONDS, "seen": "s", "annotator_kind": "human", "annotator": "ann", **changes}
    opinions: list[tuple[int | None, str]] = [(i, choice) for i, choice in enumerate(choices) if choice]
    opinions += [(None, whole)] if whole else []
    project.add_labels([Label.make(pair=pair.id, segment=s, choice=c, **values) for s, c in opinions])


def weights_of(run: Path) -> dict[str, Tensor]:
    """The adapter that a training run ended with."""
    return load_file(run / "adapter/pytorch_lora_weights.safetensors")


def log_of(run: Path) -> list[dict[str, Any]]:
    """What a training run logged at each step, but for the time that it took."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
