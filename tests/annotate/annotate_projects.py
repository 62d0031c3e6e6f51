"""Projects to annotate: real videos whose frames bear their number, and clients of the application."""

from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from densedpo.annotate.app import create_app
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, clip_id, recipe_id
from densedpo.video.io import Frames, write_video

FRAMES, FPS, SIZE = 33, 8.0, 48
CELL, BITS = 8, 6  # the number of a frame, in cells along the top: white is 1, the lowest bit on the left
ORIGIN = "http://localhost"
COLOURS = {"a": (190, 60, 60), "b": (60, 60, 190), "real": (60, 150, 60)}
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def numbered_frames(colour: tuple[int, int, int], frames: int = FRAMES) -> Frames:
    """Frames of one colour, with their number along the top and a square that walks below."""
    video = np.empty((frames, SIZE, SIZE, 3), dtype=np.uint8)
    video[:] = colour
    for number, frame in enumerate(video):
        for bit in range(BITS):
            frame[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (number >> bit & 1)
        x = number % (SIZE - 8)
        frame[24:32, x : x + 8] = 230
    return video


def make_project(root: Path, pairs: int = 2, prompt: str = "a square walks", **settings: Any) -> Project:
    """A project of pairs, each made from the same real clip: a is red, b is blue, the real clip green."""
    values = {"frames": FRAMES, "fps": FPS, "width": SIZE, "height": SIZE, **settings}
    project = Project.create(root, ProjectSettings(**values))
    media = {name: _media(project, numbered_frames(colour, values["frames"])) for name, colour in COLOURS.items()}
    shape = {key: values[key] for key in ("frames", "fps", "width", "height")}
    clip = Clip(
        id=clip_id("file", 0, *shape.values()),
        media=media["real"],
        caption=prompt,
        **shape,
        source="test",
        licence="CC0",
        split="train",
        origin="file.mp4",
    )
    project.add_clips([clip])
    project.add_pairs(_pair(number, clip, media, prompt) for number in range(pairs))
    return project


def _media(project: Project, frames: Frames) -> str:
    file = project.root / "new.mp4"
    write_video(file, frames, FPS)
    return project.adopt(file)


def _pair(number: int, clip: Clip, media: dict[str, str], prompt: str) -> Pair:
    recipe = {"number": number, "prompt": prompt}
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=clip.id,
        prompt=prompt,
        mode="guided",
        split="train",
        frames=clip.frames,
        fps=clip.fps,
        width=clip.width,
        height=clip.height,
        eta=0.7,
        model_hash="m",
        vae_hash="v",
        media_a=media["a"],
        media_b=media["b"],
        latents=None,
        distance=1.0,
        near_identical=False,
    )


def client_of(project: Project, token: str | None = None, **settings: Any) -> TestClient:
    """A browser's stand-in: it sends an Origin, keeps cookies, and follows no redirects."""
    app = create_app(project, AnnotateSettings(**settings))
    client = TestClient(app, base_url=ORIGIN, headers={"origin": ORIGIN}, follow_redirects=False)
    if token is not None:
        assert client.post(f"/join/{token}").status_code == 303
    return client


def person(project: Project, role: people.Role = "annotator", name: str = "Ann") -> tuple[str, str]:
    """Somebody new: their id and an invitation token."""
    made = people.add_person(project, name, role)
    return made.id, people.invite(project, made.id)


def answer(
    task: dict[str, Any], segment: int | None = 0, choice: str | None = "left", **changes: Any
) -> dict[str, Any]:
    """The body of an answer."""
    values = {"assignment": task["id"], "segment": segment, "aspect": "overall", "choice": choice, "milliseconds": 700}
    return {**values, **changes}


def all_labels(project: Project) -> list[Label]:
    """Every label, oldest first, superseded ones too."""
    return sorted(project.labels(superseded=True), key=lambda label: label.created)
