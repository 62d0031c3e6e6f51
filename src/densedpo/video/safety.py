"""Open a video file without trusting it.

Only local files of the listed containers are opened: libav would otherwise follow a text playlist named `cat.mp4` and
fetch addresses from it. The header is held against `Limits` before a frame is decoded (a 200 KB file can ask for 200 MB
a frame), and the decoder itself refuses larger frames should the header have lied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from densedpo.errors import UserError

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,ogg,mpegts,mpeg"


@dataclass(frozen=True)
class Limits:
    """What a file may ask of this machine before it is refused."""

    pixels: int = 4096 * 2304  # per frame
    frames: int = 500_000
    seconds: float = 4 * 3600.0
    file_bytes: int = 16 << 30
    decoded_bytes: int = 4 << 30  # all frames at once, only for `read_video`


DEFAULT_LIMITS = Limits()


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream, ready to decode inside the block.

    Raises UserError, while opening or decoding, if the file is missing, empty, damaged, no video, or beyond `limits`.
    """
    try:
        with _opened(path, limits) as video:
            yield video
    except (FFmpegError, OSError) as error:
        raise UserError(f"{path}: {_why_unreadable(path, error)}") from error


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it; change its permissions or leave it out"
    with path.open("rb") as file:
        head = file.read(512)
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat")):
        return "is a playlist, not a video; give the video files themselves"
    if min(head) >= 9:  # no binary control bytes
        return "is text, not a video; replace it by a real video file"
    return "is damaged, cut short, or not a video (mp4, mov, mkv, webm, avi, ogv, ts); re-encode or replace it"


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not path.is_file():
        raise UserError(f"{path}: there is no such video file; check the path")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or download it again")
    if size > limits.file_bytes:
        raise UserError(f"{path}: {size} bytes, at most {limits.file_bytes} are allowed; cut it into shorter clips")
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "max_pixels": str(limits.pixels)}
    with av.open(str(path.absolute()), options=options) as container:
        if not container.streams.video:
            raise UserError(f"{path}: has no video stream (sound only?); replace it by a file with pictures")
        stream = container.streams.video[0]
        _check_header(path, container, stream, limits)
        if stream.index_entries and max(entry.pos + entry.size for entry in stream.index_entries) > size:
            raise UserError(f"{path}: is cut short: its index points beyond its end; copy or download it again")
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        stream.thread_type = "AUTO"
        yield container, stream


def _check_header(path: Path, container: InputContainer, stream: VideoStream, limits: Limits) -> None:
    width = stream.width * float(stream.sample_aspect_ratio or 1)
    if max(stream.width, width) * stream.height > limits.pixels:
        size = f"{stream.width}x{stream.height}"
        raise UserError(f"{path}: frames of {size}, at most {limits.pixels} pixels are allowed; scale it down first")
    if stream.frames > limits.frames:
        raise UserError(
            f"{path}: {stream.frames} frames, at most {limits.frames} are allowed; cut it into shorter clips"
        )
    seconds = (container.duration or 0) / 1e6
    if seconds > limits.seconds:
        raise UserError(
            f"{path}: {seconds:.0f} s long, at most {limits.seconds:.0f} s are allowed; cut it into shorter clips"
        )
