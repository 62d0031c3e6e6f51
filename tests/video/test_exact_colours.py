"""Colours are converted by the quickest way that gives the pixels of swscale's exact one-step conversion."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from footage import encode, real, shapes

from densedpo.video.io import BY_PLANES, SCALING, Frames, iter_frames, read_video

FORMATS = sorted(BY_PLANES | {"gray", "yuv411p", "gbrp10le"})
TAGS = [
    (ColorRange.MPEG, Colorspace.ITU709),
    (ColorRange.JPEG, Colorspace.ITU601),
    (ColorRange.UNSPECIFIED, Colorspace.DEFAULT),
]


def noise(pix_fmt: str, width: int, height: int, seed: int) -> VideoFrame:
    """A frame whose every sample is random, so all of each range and beyond it."""
    frame = VideoFrame(width, height, pix_fmt)
    rng = np.random.default_rng(seed)
    for plane in frame.planes:
        if "10le" in pix_fmt:
            samples = rng.integers(0, 1024, plane.buffer_size // 2, dtype=np.uint16).view(np.uint8)
        else:
            samples = rng.integers(0, 256, plane.buffer_size, dtype=np.uint8)
        plane.update(samples)
    return frame


def one_step(path: Path) -> Frames:
    """The file by PyAV alone, from what was decoded to interleaved RGB at once; square pixels, never turned."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width = round(stream.width * (stream.sample_aspect_ratio or 1))
        decoded = container.decode(stream)
        rgb = [
            VideoReformatter().reformat(frame, width=width, format="rgb24", interpolation=SCALING, threads=1)
            for frame in decoded
        ]
        return np.stack([frame.to_ndarray() for frame in rgb])


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (37, 23), (130, 33), (8, 6)])
def test_every_format_range_and_odd_size(tmp_path: Path, pix_fmt: str, width: int, height: int) -> None:
    for number, (colour_range, space) in enumerate(TAGS):
        path = tmp_path / f"{number}.mkv"
        coded = pix_fmt.replace("yuvj", "yuv")  # the tag says which; the decoder gives `yuvj` for motion JPEG
        with av.open(str(path), "w") as file:
            stream = file.add_stream("rawvideo" if pix_fmt == "nv12" else "ffv1", rate=8)
            stream.width, stream.height, stream.pix_fmt = width, height, coded
            stream.codec_context.color_range, stream.codec_context.colorspace = colour_range, space
            for index in range(2):
                frame = noise(coded, width, height, 10 * number + index)
                frame.color_range, frame.colorspace = colour_range, space
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        assert np.array_equal(read_video(path)[0], one_step(path)), (colour_range, space)


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_motion_jpeg(tmp_path: Path, pix_fmt: str) -> None:
    path = encode(tmp_path / "a.avi", shapes(3, 46), codec="mjpeg", pix_fmt=pix_fmt)
    assert np.array_equal(read_video(path)[0], one_step(path))


@pytest.mark.parametrize("aspect", [Fraction(128, 117), Fraction(1, 2)])
def test_pixels_that_are_not_square(tmp_path: Path, aspect: Fraction) -> None:
    path = encode(tmp_path / "a.mp4", shapes(3), aspect=aspect)
    assert np.array_equal(read_video(path)[0], one_step(path))


def test_turned(tmp_path: Path) -> None:
    frames = shapes(3)[:, :, :32]
    path = encode(tmp_path / "a.mp4", frames, rotation=90)
    assert np.array_equal(read_video(path)[0], np.rot90(one_step(path), axes=(1, 2)))


def test_real_footage() -> None:
    path = real("carphone_pristine.mp4")
    assert np.array_equal(np.stack(list(iter_frames(path))), one_step(path))
