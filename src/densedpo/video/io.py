"""Read and write video files: exact frames, bounded resources, reproducible bytes.

Frames are uint8 arrays `[T, H, W, 3]` in RGB, upright (rotation metadata applied) and with square pixels. How a
file is opened without trusting it is in `safety.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.video.safety import DEFAULT_LIMITS, Limits, opened

Frames = NDArray[np.uint8]  # [T, H, W, 3] RGB
Frame = NDArray[np.uint8]  # [H, W, 3] RGB
Quality = Literal["near_lossless", "browser"]

__all__ = ["Limits", "VideoInfo", "frame_times", "iter_frames", "probe", "read_video", "resample_frames", "write_video"]

SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
# swscale converts these exactly with vector instructions if red, green and blue go to a plane each, but not if they are
# interleaved at once. Interleaving the planes afterwards gives the same pixels several times as fast.
BY_PLANES = frozenset(
    {
        *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12"),
        *("yuv420p10le", "yuv422p10le", "yuv444p10le"),
    }
)


@dataclass(frozen=True)
class VideoInfo:
    """Size in pixels as shown, exact number of frames, average frames per second, and frames / fps."""

    width: int
    height: int
    frames: int
    fps: float
    seconds: float


def probe(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> VideoInfo:
    """Look at a video: every frame is decoded once and counted, none is kept.

    Raises UserError if the file is missing, empty, damaged, not a video, or beyond `limits`.
    """
    with opened(Path(path), limits) as (container, stream):
        times: list[float] = []
        width = height = 0
        for time, frame in _decoded(container, stream, Path(path), limits):
            times.append(time)
            width, height = _shown_size(frame, stream)
        fps = _rate(stream, times)
    return VideoInfo(width, height, len(times), fps, len(times) / fps)


def read_video(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> tuple[Frames, float]:
    """All frames as uint8 `[T, H, W, 3]` RGB, and the average frames per second.

    Raises UserError as `probe` does, and if the decoded frames would not fit in `limits.decoded_bytes`.
    """
    with opened(Path(path), limits) as (container, stream):
        times: list[float] = []
        frames: Frames | None = None  # room for as many as the header tells of, else twice as much each time it is full
        to_rgb = _RgbConverter(stream)
        for time, frame in _decoded(container, stream, Path(path), limits):
            width, height = _shown_size(frame, stream)
            if (needed := max(stream.frames, len(times) + 1) * width * height * 3) > limits.decoded_bytes:
                raise UserError(
                    f"{path}: its frames need {needed / 2**30:.1f} GiB of memory, at most "
                    f"{limits.decoded_bytes / 2**30:.1f} GiB are allowed; cut it into shorter clips"
                )
            if frames is None:
                frames = np.empty((max(stream.frames, 1), height, width, 3), np.uint8)
            elif len(times) == len(frames):
                full, frames = frames, np.empty((2 * len(frames), height, width, 3), np.uint8)
                frames[: len(full)] = full
            frames[len(times)] = to_rgb(frame)
            times.append(time)
        assert frames is not None, "a video without a frame has been refused"
        return frames[: len(times)], _rate(stream, times)


def iter_frames(
    path: str | Path, limits: Limits = DEFAULT_LIMITS, indices: Iterable[int] | None = None
) -> Iterator[Frame]:
    """Yield the frames one by one, uint8 `[H, W, 3]` RGB; holds one at a time. Raises UserError as `probe` does.

    With `indices`, ascending, only these frames, again where an index repeats; decoding stops after the last of them.
    """
    wanted = itertools.count() if indices is None else iter(indices)
    index = next(wanted, None)
    with opened(Path(path), limits) as (container, stream):
        to_rgb = _RgbConverter(stream)
        for number, (_, frame) in enumerate(_decoded(container, stream, Path(path), limits)):
            if number == index:
                rgb = to_rgb(frame)
                while number == index:
                    yield rgb
                    index = next(wanted, None)
            if index is None:
                return


def frame_times(path: str | Path, limits: Limits = DEFAULT_LIMITS, until: float | None = None) -> NDArray[np.float64]:
    """When each frame is shown, in seconds after the first, in the order of `iter_frames`.

    The array ends with one extra entry, the end of the last frame, so it has length `frames + 1`. Decoding stops after
    the first frame shown later than `until` seconds. Raises UserError as `probe` does.
    """
    with opened(Path(path), limits) as (container, stream):
        times: list[float] = []
        for time, _ in _decoded(container, stream, Path(path), limits):
            times.append(time)
            if until is not None and time > until:
                break
        return np.array([*times, times[-1] + 1 / _rate(stream, times)])


def resample_frames(timestamps: NDArray[np.float64], fps: float, count: int, start: float = 0.0) -> NDArray[np.int64]:
    """Which source frame is nearest to each of `count` moments, `1 / fps` seconds apart from `start` on.

    `timestamps` are ascending seconds [N]; between two equally near frames the earlier one is taken. Returns indices
    [count] into `timestamps`. Moments outside the source get its first or last frame: check the length before.
    """
    moments = start + np.arange(count) / fps
    middles = (timestamps[1:] + timestamps[:-1]) / 2
    return np.searchsorted(middles, moments - 1e-9, side="left").astype(np.int64)


def write_video(path: str | Path, frames: Frames, fps: float, *, quality: Quality = "near_lossless") -> None:
    """Write uint8 RGB frames `[T, H, W, 3]` as constant-rate H.264 in mp4; the same frames give the same bytes.

    `near_lossless` is for the archive: H.264 in RGB with quantiser 0 reads back bit for bit. `browser` is what every
    browser plays and seeks exactly: yuv420p, every frame a key frame, index in front, odd sizes padded to even by
    repeating the edge. The file appears under its name only when finished. Raises ValueError on another shape or type,
    UserError when the disk is full.
    """
    path = Path(path)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(
            f"frames: expected uint8 [T, H, W, 3] with at least one frame, got {frames.dtype} {frames.shape}"
        )
    if not 0.01 <= fps <= 1000:
        raise ValueError(f"fps: expected a number from 0.01 to 1000, got {fps}")
    if quality == "browser":
        frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    temporary = temporary_beside(path)
    try:
        with disk_full_is_clear(path):
            _encode(temporary, frames, Fraction(fps).limit_denominator(1001), quality)
            put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _encode(path: Path, frames: Frames, rate: Fraction, quality: Quality) -> None:
    with av.open(
        str(path.absolute()), "w", format="mp4", options={"movflags": "faststart", "fflags": "bitexact"}
    ) as file:
        stream = file.add_stream("libx264rgb" if quality == "near_lossless" else "libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        context = stream.codec_context
        context.thread_count = 1
        if quality == "near_lossless":
            stream.pix_fmt, stream.options = "rgb24", {"qp": "0", "preset": "medium"}
        else:
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "12", "preset": "medium", "g": "1", "bf": "0"}
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        converter = VideoReformatter()
        for array in frames:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            if quality == "browser":
                frame = converter.reformat(
                    frame,
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=SCALING | Interpolation.FULL_CHR_H_INP,
                    threads=1,
                )
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


class _RgbConverter:
    """Decoded frame → uint8 [H, W, 3] RGB, upright, square pixels."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._to_planes, self._to_rgb = VideoReformatter(), VideoReformatter()  # each keeps what it has prepared

    def __call__(self, frame: VideoFrame) -> Frame:
        width, turns = _square_width(frame, self._stream), _quarter_turns(frame)
        if frame.format.name in BY_PLANES:
            frame = self._to_planes.reformat(frame, width=width, format="gbrp", interpolation=SCALING, threads=1)
        rgb = self._to_rgb.reformat(frame, width=width, format="rgb24", interpolation=SCALING, threads=1)
        array: Frame = np.rot90(rgb.to_ndarray(), k=turns)
        return np.ascontiguousarray(array)


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4  # counter-clockwise


def _square_width(frame: VideoFrame, stream: VideoStream) -> int:
    return max(1, round(frame.width * (stream.sample_aspect_ratio or 1)))


def _shown_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    size = _square_width(frame, stream), frame.height
    return size if _quarter_turns(frame) % 2 == 0 else size[::-1]


def _decoded(
    container: InputContainer, stream: VideoStream, path: Path, limits: Limits
) -> Iterator[tuple[float, VideoFrame]]:
    """Every frame with its time in seconds after the first; a frame without a time follows its neighbour."""
    step = 1 / (stream.average_rate or stream.guessed_rate or 25)
    first: float | None = None
    time = 0.0
    size = None
    for index, frame in enumerate(container.decode(stream)):
        if index >= limits.frames:
            raise UserError(f"{path}: more than {limits.frames} frames; cut it into shorter clips")
        if size not in (None, (frame.width, frame.height)):
            raise UserError(f"{path}: its frame size changes on the way; re-encode it to one size")
        size = (frame.width, frame.height)
        stamp = None if frame.pts is None else float(frame.pts * (frame.time_base or 0))
        if first is None:
            first = stamp or 0.0
        elif stamp is None or stamp - first < time:
            time += float(step)
        else:
            time = stamp - first
        yield time, frame
    if size is None:
        raise UserError(f"{path}: holds no frame that can be decoded; re-encode or replace it")


def _rate(stream: VideoStream, times: list[float]) -> float:
    """The header's average frames per second unless the frames' own times contradict it by over 2%."""
    told = float(stream.average_rate or stream.guessed_rate or 0)
    if len(times) < 2 or times[-1] <= 0:
        return told or 25.0
    seen = (len(times) - 1) / times[-1]
    return told if told and abs(seen / told - 1) < 0.02 else seen
