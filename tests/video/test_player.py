"""Renderings for people."""

import io
from pathlib import Path

import numpy as np
import pytest
from footage import psnr, shapes
from PIL import Image

from densedpo.video.io import read_video
from densedpo.video.player import (
    BITS,
    CELL,
    STRIP,
    contact_sheet,
    numbered,
    numbered_layout,
    poster,
    upscale,
)


def test_numbered_frames_bear_their_number_beside_each_side(tmp_path: Path) -> None:
    left, right = shapes(260, seed=1), shapes(260, seed=2)  # more than 255: the number needs more than a byte
    numbered(tmp_path / "a.mp4", [left, right], 8)
    frames, fps = read_video(tmp_path / "a.mp4")
    layout = numbered_layout(48, 48)
    assert (layout.scale, layout.width, layout.height) == (8, 384, 384)
    assert frames.shape == (260, 384, 2 * (STRIP + 384), 3) and fps == 8
    for start, side in ((STRIP, left), (2 * STRIP + 384, right)):
        assert psnr(frames[:, 3::8, start + 3 : start + 384 : 8], side) > 38
        cells = frames[:, CELL // 2 : (BITS + 1) * CELL : CELL, start - STRIP // 2].mean(axis=2) > 128
        assert np.array_equal(cells[:, :BITS] @ (1 << np.arange(BITS)), np.arange(260))
        assert (cells.sum(axis=1) % 2 == 1).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((48, 48), (8, 384, 384)), ((512, 288), (1, 512, 288)), ((33, 21), (18, 594, 378)), ((833, 481), (1, 834, 482))],
)
def test_sides_are_comfortable_and_even(size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    layout = numbered_layout(*size)
    assert (layout.scale, layout.width, layout.height) == expected
    assert layout.height >= (BITS + 1) * CELL


def test_numbered_sides_of_odd_size_are_padded(tmp_path: Path) -> None:
    video = np.full((2, 257, 301, 3), 90, dtype=np.uint8)
    numbered(tmp_path / "a.mp4", [video], 8)
    frames, _ = read_video(tmp_path / "a.mp4")
    assert frames.shape == (2, 258, STRIP + 302, 3)
    assert np.abs(frames[:, :, STRIP + 2 :].astype(int) - 90).max() <= 3


def test_numbered_sides_of_unequal_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sides: expected one shape"):
        numbered(tmp_path / "a.mp4", [shapes(3), shapes(2)], 8)


def test_upscale_repeats_pixels_and_never_shrinks() -> None:
    frames = shapes(2)
    large = upscale(frames, 100)
    assert large.shape == (2, 144, 144, 3)
    for y, x in ((0, 0), (1, 2), (2, 1)):
        assert np.array_equal(large[:, y::3, x::3], frames)
    assert np.array_equal(upscale(frames, 10), frames)


def test_poster_is_the_middle_frame() -> None:
    frames = shapes(33)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(poster(frames)))), frames[16])


def test_contact_sheet_spreads_time_over_columns() -> None:
    videos = [shapes(33, 48, seed=1), shapes(5, 32, seed=2)]
    sheet = np.asarray(contact_sheet(videos, columns=3, gap=4))
    assert sheet.shape == (2 * 52 - 4, 3 * 52 - 4, 3)
    for column, index in enumerate((0, 16, 32)):
        assert np.array_equal(sheet[:48, column * 52 : column * 52 + 48], videos[0][index])
    for column, index in enumerate((0, 2, 4)):
        assert np.array_equal(sheet[52:84, column * 52 : column * 52 + 32], videos[1][index])
    assert (sheet[48:52] == 255).all()


def test_contact_sheet_needs_a_video() -> None:
    with pytest.raises(ValueError, match="expected at least one video and one column, got 0 and 6"):
        contact_sheet([])
