"""A folder of videos and a project to take them into, for the tests of imports."""

from pathlib import Path
from typing import Any

import numpy as np

from densedpo.store.project import Project, ProjectSettings
from densedpo.video.io import Frames, write_video

FRAMES, FPS, SIZE = 9, 8.0, 16
SETTINGS = ProjectSettings(frames=FRAMES, fps=FPS, width=SIZE, height=SIZE, segment_seconds=0.5)


def frames_of(number: int, count: int = FRAMES, height: int = SIZE, width: int = SIZE) -> Frames:
    """Frames of which each has its own grey; another number gives another picture."""
    video = np.zeros((count, height, width, 3), np.uint8)
    video[:] = (10 * np.arange(count) + number).astype(np.uint8)[:, None, None, None]
    video[:, : height // 2, :, 0] = 200
    return video


def make(tmp_path: Path, names: tuple[str, ...] = ("a.mp4", "sub/b.mp4", "c.mp4"), **changes: Any) -> Project:
    """An empty project, and videos of its shape in the folder `videos`."""
    for number, name in enumerate(names):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames_of(number), FPS)
    return Project.create(tmp_path / "project", SETTINGS.model_copy(update=changes))


def nothing_in(project: Project) -> bool:
    return not list(project.pairs()) and not list(project.labels()) and not list(project.events())
