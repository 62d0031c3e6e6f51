"""Frames in and out: exact counts, exact pixels, exact bytes, right times."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from footage import encode, psnr, real, shapes
from hypothesis import given
from hypothesis import strategies as st

from densedpo.video.io import frame_times, iter_frames, probe, read_video, resample_frames, write_video

REAL = {  # name: width, height (as shown), frames, fps
    "bikes.mp4": (640, 272, 250, 25.0),
    "bigbuckbunny.mp4": (1280, 720, 132, 25.0),
    "carphone_pristine.mp4": (193, 144, 120, 30000 / 1001),  # 176 pixels, each 128:117
}


@pytest.mark.parametrize("name", REAL)
def test_probe_of_real_footage(name: str) -> None:
    info = probe(real(name))
    width, height, frames, fps = REAL[name]
    assert (info.width, info.height, info.frames) == (width, height, frames)
    assert info.fps == pytest.approx(fps, rel=1e-9)
    assert info.seconds == pytest.approx(frames / fps, rel=1e-9)


def test_real_footage_survives_the_archive_bit_for_bit(tmp_path: Path) -> None:
    frames, fps = read_video(real("carphone_pristine.mp4"))
    write_video(tmp_path / "a.mp4", frames, fps)
    again, again_fps = read_video(tmp_path / "a.mp4")
    assert np.array_equal(again, frames)
    assert again_fps == pytest.approx(fps, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_tiny_clips_survive_the_archive_bit_for_bit(tmp_path: Path, seed: int) -> None:
    frames = shapes(seed=seed)
    write_video(tmp_path / "a.mp4", frames, 8)
    again, fps = read_video(tmp_path / "a.mp4")
    assert np.array_equal(again, frames)
    assert fps == 8
    assert psnr(again, frames) > 45  # what the contract asks; the line above is stricter


def test_sizes_in_the_archive_may_be_odd_and_a_single_frame_is_a_video(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 47, 33, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 23.976)
    again, fps = read_video(tmp_path / "a.mp4")
    assert np.array_equal(again, frames)
    assert fps == pytest.approx(23.976)


@pytest.mark.parametrize("quality", ["near_lossless", "browser"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, quality: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, 8, quality=quality)  # type: ignore[arg-type]
    content = (tmp_path / "a.mp4").read_bytes()
    assert content == (tmp_path / "b.mp4").read_bytes()
    assert b"Lavf" not in content  # the muxer's version would make other bytes elsewhere


def test_a_browser_file_is_even_all_key_frames_and_has_its_index_in_front(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, shapes(size=49), 8, quality="browser")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (50, 50, "yuv420p")
        packets = [packet for packet in file.demux(stream) if packet.size]
    assert len(packets) == 33
    assert all(packet.is_keyframe for packet in packets)
    assert {packet.duration * packet.time_base for packet in packets} == {Fraction(1, 8)}


def test_a_browser_file_keeps_brightness_and_colour(tmp_path: Path) -> None:
    frames = np.empty((3, 48, 48, 3), dtype=np.uint8)
    frames[:] = (200, 30, 40)
    write_video(tmp_path / "a.mp4", frames, 8, quality="browser")
    assert np.abs(read_video(tmp_path / "a.mp4")[0].astype(int) - frames).max() <= 3


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)]
)
def test_only_frames_can_be_written(tmp_path: Path, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[T, H, W, 3\] with at least one frame, got"):
        write_video(tmp_path / "a.mp4", bad, 8)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 2000])
def test_only_a_sensible_rate_can_be_written(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match=r"fps: expected a number from 0\.01 to 1000, got"):
        write_video(tmp_path / "a.mp4", shapes(2), fps)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, shapes(2), 8)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("stopped while encoding")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", fail)
    with pytest.raises(RuntimeError, match="stopped while encoding"):
        write_video(path, shapes(3), 8)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "codec"),
    [("a.webm", "libvpx"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4"), ("a.mkv", "libx264"), ("a.ts", "libx264")],
)
def test_counts_are_exact_in_every_container(tmp_path: Path, file: str, codec: str) -> None:
    info = probe(encode(tmp_path / file, shapes(37, 64), codec=codec))
    assert (info.frames, info.width, info.height) == (37, 64, 64)
    assert info.fps == pytest.approx(8)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_a_file_whose_header_does_not_tell_how_many_frames_it_has(tmp_path: Path, count: int) -> None:
    path = encode(tmp_path / "a.mkv", shapes(count))
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames == 0
    frames, _ = read_video(path)
    assert np.array_equal(frames, np.stack(list(iter_frames(path)))) and len(frames) == count


def test_times_of_a_variable_rate_file_start_at_zero_and_end_with_its_end(tmp_path: Path) -> None:
    stamps = [500, 600, 700, 1500, 1600, 2500]
    path = encode(tmp_path / "a.mkv", shapes(6), milliseconds=stamps)
    times = frame_times(path)
    assert times[:-1] == pytest.approx([0.0, 0.1, 0.2, 1.0, 1.1, 2.0])
    assert times[-1] > 2.0
    assert frame_times(path, until=0.5)[:-1] == pytest.approx([0.0, 0.1, 0.2, 1.0])


def test_the_frames_own_times_count_when_the_header_tells_another_rate(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", shapes(9), milliseconds=[250 * index for index in range(8)] + [20_000])
    assert read_video(path)[1] != 8
    assert probe(path).seconds == pytest.approx(frame_times(path)[-1], rel=0.2)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3), (None, 0)])
def test_rotated_footage_comes_upright(tmp_path: Path, rotation: int | None, turns: int) -> None:
    frames = np.zeros((2, 48, 64, 3), dtype=np.uint8)
    frames[:, :24, :32] = 250
    path = encode(tmp_path / "a.mp4", frames, rotation=rotation)
    upright = np.rot90(frames, k=turns, axes=(1, 2))  # counter-clockwise
    read, _ = read_video(path)
    assert psnr(read, upright) > 30
    assert (probe(path).height, probe(path).width) == upright.shape[1:3]


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", shapes(2), aspect=Fraction(4, 3))
    assert read_video(path)[0].shape == (2, 48, 64, 3)
    assert probe(path).width == 64


@pytest.mark.parametrize("grey", [20, 235])
def test_full_range_footage_keeps_its_contrast(tmp_path: Path, grey: int) -> None:
    frames = np.full((2, 48, 48, 3), grey, dtype=np.uint8)  # read as limited range, 20 would come out as 5
    read, _ = read_video(encode(tmp_path / "a.avi", frames, codec="mjpeg", pix_fmt="yuvj420p"))
    assert np.abs(read.astype(int) - grey).max() <= 3


def test_chosen_frames_are_those_of_the_whole_video_and_may_repeat() -> None:
    path = real("bikes.mp4")
    first = list(itertools.islice(iter_frames(path), 12))
    chosen = list(iter_frames(path, indices=[0, 3, 3, 11]))
    assert len(chosen) == 4
    assert all(np.array_equal(frame, first[index]) for frame, index in zip(chosen, [0, 3, 3, 11], strict=True))
    assert list(iter_frames(path, indices=[])) == []


def test_resampling_takes_the_nearest_frame_and_of_two_the_earlier() -> None:
    times = np.arange(5) / 4  # 0, 0.25, 0.5, 0.75, 1
    assert resample_frames(times, 2, 3).tolist() == [0, 2, 4]
    assert resample_frames(times, 8, 5).tolist() == [0, 0, 1, 1, 2]  # 0.125 lies between 0 and 0.25
    assert resample_frames(times, 2, 2, start=0.4).tolist() == [2, 4]
    assert resample_frames(np.array([0.0, 0.1, 0.2, 1.0, 1.1]), 4, 5).tolist() == [
        0,
        2,
        2,
        3,
        3,
    ]  # 0.5 is nearer to 0.2


@given(
    gaps=st.lists(st.integers(1, 1000), min_size=1, max_size=40),
    fps=st.floats(1, 60),
    count=st.integers(1, 40),
    start=st.floats(0, 5),
)
def test_no_other_frame_is_nearer(gaps: list[int], fps: float, count: int, start: float) -> None:
    times = np.cumsum([0, *gaps]) / 1000
    chosen = resample_frames(times, fps, count, start)
    moments = start + np.arange(count) / fps
    assert np.all(np.diff(chosen) >= 0)
    assert np.abs(times[chosen] - moments) == pytest.approx(np.abs(times[:, None] - moments).min(axis=0), abs=1e-8)
