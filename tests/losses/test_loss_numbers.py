"""Losses worked out by hand: each number below can be checked with a pocket calculator."""

import math

import pytest
import torch
from loss_cases import FRAMES_SF, LOSSES, gradients, mean, random_errors
from torch import Tensor

from densedpo.losses.common import LossOutput, PairErrors
from densedpo.losses.dense_dpo import dense_dpo, dense_dpo_segment, dense_dpo_video
from densedpo.losses.flow_dpo import flow_dpo
from densedpo.store.segments import frame_labels


def doubles(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def soft(z: float) -> float:
    """-log sigmoid(-z) = log(1 + e^z)."""
    return math.log1p(math.exp(z))


# One pair, three frames. Delta_a = (-0.1, 0.2, 0), Delta_b = (0.1, -0.1, 0.4), so the gaps are (-0.2, 0.3, -0.4).
ERRORS = PairErrors(
    policy_a=doubles([0.9, 1.2, 1.0]),
    policy_b=doubles([1.1, 0.9, 1.4]),
    reference_a=doubles([1.0, 1.0, 1.0]),
    reference_b=doubles([1.0, 1.0, 1.0]),
)
SIGN, SIZE = doubles([1, -1, 1]), doubles([1, 0.5, 0.25])
BETA = 10.0  # 0.5 beta = 5: inside = -5 l gap = (1, 1.5, 2) below


def check(output: LossOutput, loss_sum: float, weight: float, inside: list[float]) -> None:
    assert output.loss_sum.tolist() == [pytest.approx(loss_sum, rel=1e-12)]
    assert output.weight.tolist() == [pytest.approx(weight, rel=1e-12)]
    assert output.inside.tolist() == [pytest.approx(inside, rel=1e-12)]


def test_dense_one_sigmoid_a_frame() -> None:
    expected = 1 * soft(-1) + 0.5 * soft(-1.5) + 0.25 * soft(-2)
    check(dense_dpo(ERRORS, SIGN, SIZE, BETA), expected, 1.75, [1, 1.5, 2])


def test_dense_one_sigmoid_a_video_over_the_weighted_sum() -> None:
    # 1 * 1 + 0.5 * 1.5 + 0.25 * 2 = 2.25
    check(dense_dpo_video(ERRORS, SIGN, SIZE, BETA), soft(-2.25), 1, [2.25])


def test_dense_one_sigmoid_a_segment_over_the_mean_of_its_frames() -> None:
    # Segment 0: frame 0 and half of frame 1: (1 * -0.2 + 0.5 * 0.3) / 1.5 = -1/30; a is better: inside = 5/30 = 1/6.
    # Segment 1: half of frame 1 and frame 2: (0.5 * 0.3 + 1 * -0.4) / 1.5 = -1/6; b is better: inside = -5/6.
    frames_SF = doubles([1, 0.5, 0], [0, 0.5, 1])
    output = dense_dpo_segment(ERRORS, doubles([1, -1]), doubles([1, 0.4]), frames_SF, BETA)
    check(output, soft(-1 / 6) + 0.4 * soft(5 / 6), 1.4, [1 / 6, -5 / 6])


def test_a_segment_without_a_counted_frame_costs_nothing() -> None:
    frames_SF = doubles([0, 0, 0], [1, 1, 1])  # its only frame is given, and left out
    output = dense_dpo_segment(ERRORS, doubles([1, -1]), doubles([1, 1]), frames_SF, BETA)
    check(output, soft(0.5), 1, [0, -0.5])  # mean gap (-0.2 + 0.3 - 0.4) / 3 = -0.1, b better


@pytest.mark.parametrize(("sign", "inside"), [(1.0, 0.5), (-1.0, -0.5)])
def test_flow_dpo_on_the_mean_over_frames(sign: float, inside: float) -> None:
    # mean gap = (-0.2 + 0.3 - 0.4) / 3 = -0.1; times -5 = 0.5
    weight = torch.tensor([0.7], dtype=torch.float64)
    output = flow_dpo(ERRORS, torch.tensor([sign], dtype=torch.float64), weight, BETA)
    check(output, 0.7 * soft(-inside), 0.7, [inside])


# 33 frames at 8 fps with r = 4: latent frame k >= 1 is pixel frames 4k-3 .. 4k; seconds begin at frames 0, 8, 16, 24
# (frame 32, the tail, belongs to the last). So latent frames 2 (5 6 7 | 8), 4 (13 14 15 | 16) and 6 (21 22 23 | 24)
# are cut.
STRADDLING_SF = [
    [1, 1, 0.75, 0, 0, 0, 0, 0, 0],
    [0, 0, 0.25, 1, 0.75, 0, 0, 0, 0],
    [0, 0, 0, 0, 0.25, 1, 0.75, 0, 0],
    [0, 0, 0, 0, 0, 0, 0.25, 1, 1],
]


def test_straddling_frames_weigh_by_how_far_their_segments_agree() -> None:
    assert FRAMES_SF.tolist() == STRADDLING_SF
    sign, size = frame_labels([1.0, -1.0, 0.0, 0.5], FRAMES_SF)  # a, b, tie, a with half the confidence
    # m_2 = 0.75 - 0.25, m_4 = -0.75 + 0, m_6 = 0 + 0.25 * 0.5
    assert sign.tolist() == [1, 1, 1, -1, -1, 0, 1, 1, 1]
    assert size.tolist() == [1, 1, 0.5, 1, 0.75, 0, 0.125, 0.5, 0.5]


def test_the_loss_of_straddling_frames() -> None:
    """Every gap is -0.4, so with beta 10 every frame's inside is +2 where a is better and -2 where b is."""
    ones = torch.ones(1, 9, dtype=torch.float64)
    errors = PairErrors(0.8 * ones, 1.2 * ones, ones, ones)
    sign, size = frame_labels([1.0, -1.0, 0.0, 0.5], FRAMES_SF)
    output = dense_dpo(errors, torch.tensor(sign)[None], torch.tensor(size)[None], BETA)
    for_a, for_b = 1 + 1 + 0.5 + 0.125 + 0.5 + 0.5, 1 + 0.75
    check(output, for_a * soft(-2) + for_b * soft(2), for_a + for_b, [2, 2, 2, -2, -2, 0, 2, 2, 2])


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_of_unequal_weight_sum_to_the_loss_and_gradient_of_the_whole_batch(name: str) -> None:
    loss, errors = LOSSES[name], random_errors(4)
    labels = doubles([1, 1, 1, 1], [-1, 0, 0, 0], [0.25, 0, -1, 0], [0, 0, 0, 0])
    whole = mean(loss(errors, labels))
    parts = []
    for rows in (slice(0, 1), slice(1, 4)):
        fields = (errors.policy_a, errors.policy_b, errors.reference_a, errors.reference_b)
        parts.append(loss(PairErrors(*(field[rows] for field in fields)), labels[rows]))
    weight = sum(part.weight.sum() for part in parts)
    windowed = sum(part.loss_sum.sum() / weight for part in parts)
    assert isinstance(windowed, Tensor)
    assert windowed.item() == pytest.approx(whole.item(), rel=1e-14)
    for one, other in zip(gradients(errors, windowed), gradients(errors, whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)

    mean_of_means = sum(mean(part) for part in parts) / 2
    assert abs(mean_of_means - whole).item() > 0.003
