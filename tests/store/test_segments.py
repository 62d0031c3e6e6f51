"""Grids and latent weights against hand-worked numbers, and what must hold for all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densedpo.errors import UserError
from densedpo.store.segments import Segment, frame_labels, latent_frame_count, latent_weights, segment_grid


@pytest.mark.parametrize(
    ("frames", "fps", "seconds", "count"),
    [
        (121, 24, 1, 5),
        (81, 16, 1, 5),
        (49, 8, 1, 6),
        (33, 8, 1, 4),
        (36, 8, 1, 5),  # a tail of exactly half a segment stands alone
        (35, 8, 1, 4),
        (3, 8, 1, 1),  # shorter than half a segment: still one
        (150, 29.97, 1, 5),
        (49, 8, 0.5, 12),
        (33, 8, 100, 1),
    ],
)
def test_number_of_segments(frames: int, fps: float, seconds: float, count: int) -> None:
    assert len(segment_grid(frames, fps, seconds)) == count


def test_grid_at_8_fps() -> None:
    assert segment_grid(33, 8, 1) == (
        Segment(0, 0, 1, 0, 8),
        Segment(1, 1, 2, 8, 16),
        Segment(2, 2, 3, 16, 24),
        Segment(3, 3, 33 / 8, 24, 33),
    )


def test_a_boundary_between_frames_leaves_each_frame_where_its_time_lies() -> None:
    # 12.5 frames a segment: frame 12 is at 0.48 s, frame 13 at 0.52 s
    assert [(each.first_frame, each.end_frame) for each in segment_grid(50, 25, 0.5)] == [
        (0, 13),
        (13, 25),
        (25, 38),
        (38, 50),
    ]


def test_no_frames_or_segments_shorter_than_a_frame() -> None:
    with pytest.raises(UserError, match="cannot cut 0 frames"):
        segment_grid(0, 8, 1)
    with pytest.raises(UserError, match=r"segments of 0.1 s"):
        segment_grid(33, 8, 0.1)


videos = st.tuples(
    st.integers(1, 300), st.sampled_from([8, 12, 15, 16, 23.976, 24, 25, 29.97, 30, 60]), st.floats(0.13, 10)
)


@given(videos)
def test_a_grid_covers_every_frame_once(video: tuple[int, float, float]) -> None:
    frames, fps, seconds = video
    grid = segment_grid(frames, fps, seconds)
    assert [frame for each in grid for frame in range(each.first_frame, each.end_frame)] == list(range(frames))
    assert all(each.end_frame > each.first_frame and each.end > each.start for each in grid)
    assert [each.index for each in grid] == list(range(len(grid)))


@given(videos)
def test_a_frame_lies_in_the_segment_of_its_time(video: tuple[int, float, float]) -> None:
    frames, fps, seconds = video
    for each in segment_grid(frames, fps, seconds):
        assert each.start - 1e-6 <= each.first_frame / fps
        assert (each.end_frame - 1) / fps <= each.end + 1e-6


def test_latent_frames_that_straddle_at_8_fps() -> None:
    # Segment boundaries 8 | 16 | 24. Latent frame 2 is pixels 5..8: three in segment 0, one (8) in segment 1.
    expected = [
        [1, 1, 0.75, 0, 0, 0, 0, 0, 0],
        [0, 0, 0.25, 1, 0.75, 0, 0, 0, 0],
        [0, 0, 0, 0, 0.25, 1, 0.75, 0, 0],
        [0, 0, 0, 0, 0, 0, 0.25, 1, 1],
    ]
    np.testing.assert_array_equal(latent_weights(segment_grid(33, 8, 1), 33, 4), expected)


@pytest.mark.parametrize(("frames", "fps", "straddling"), [(121, 24, [6, 12, 18, 24]), (81, 16, [4, 8, 12, 16])])
def test_latent_frames_that_straddle_at_24_and_16_fps(frames: int, fps: int, straddling: list[int]) -> None:
    # Boundary frame 24 (16) is the last of the four pixels 21..24 (13..16) of latent frame 6 (4).
    weights_SF = latent_weights(segment_grid(frames, fps, 1), frames, 4)
    assert weights_SF.shape == (5, 1 + (frames - 1) // 4)
    assert np.flatnonzero((weights_SF > 0).sum(axis=0) == 2).tolist() == straddling
    for segment, latent in enumerate(straddling):
        assert weights_SF[segment, latent] == 0.75
        assert weights_SF[segment + 1, latent] == 0.25


@given(st.integers(0, 60), st.integers(1, 8), st.sampled_from([8, 16, 24, 29.97]), st.floats(0.13, 5))
def test_columns_sum_to_one(groups: int, factor: int, fps: float, seconds: float) -> None:
    frames = 1 + factor * groups
    weights_SF = latent_weights(segment_grid(frames, fps, seconds), frames, factor)
    assert weights_SF.shape[1] == latent_frame_count(frames, factor) == 1 + groups
    np.testing.assert_allclose(weights_SF.sum(axis=0), 1, rtol=0, atol=1e-12)


def test_frames_that_do_not_fit_the_autoencoder() -> None:
    with pytest.raises(UserError, match="use 33 or 37"):
        latent_frame_count(34, 4)
    with pytest.raises(UserError, match="cover 33 frames, but the video has 49"):
        latent_weights(segment_grid(33, 8, 1), 49, 4)


def test_frame_labels_by_hand() -> None:
    weights_SF = latent_weights(segment_grid(33, 8, 1), 33, 4)
    sign_F, size_F = frame_labels([1, -1, 0, 0.5], weights_SF)
    # Frame 2: 0.75 - 0.25. Frame 4: 0.75 of -1 and a tie. Frame 6: a tie and 0.25 of 0.5.
    assert sign_F.tolist() == [1, 1, 1, -1, -1, 0, 1, 1, 1]
    assert size_F.tolist() == [1, 1, 0.5, 1, 0.75, 0, 0.125, 0.5, 0.5]


def test_a_frame_cut_in_half_by_opposite_labels_counts_for_nothing() -> None:
    sign_F, size_F = frame_labels([1, -1], [[0.5], [0.5]])
    assert (sign_F.tolist(), size_F.tolist()) == ([0], [0])


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_swapping_a_and_b_negates_frame_labels(signed: list[float]) -> None:
    weights_SF = latent_weights(segment_grid(33, 8, 1), 33, 4)
    sign_F, size_F = frame_labels(signed, weights_SF)
    swapped_F, same_F = frame_labels([-each for each in signed], weights_SF)
    np.testing.assert_array_equal(swapped_F, -sign_F)
    np.testing.assert_array_equal(same_F, size_F)
    assert (size_F <= 1).all()
