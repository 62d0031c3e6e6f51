"""What must hold for every preference loss, whatever the numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import BETA, FRAMES, LOSSES, SEGMENTS, Loss, gradients, mean, random_errors, video

from densedpo.losses.common import PairErrors
from densedpo.losses.dense_dpo import dense_dpo, dense_dpo_segment, dense_dpo_video
from densedpo.losses.flow_dpo import flow_dpo

MIXED = torch.tensor([[1.0, -1.0, 0.0, 1.0], [-1.0, -1.0, 1.0, 0.0]], dtype=torch.float64)

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@every_loss
def test_a_policy_that_is_the_reference_pays_ln_2_for_all_that_counts(loss: Loss) -> None:
    drawn = random_errors(2)
    same = PairErrors(drawn.reference_a, drawn.reference_b, drawn.reference_a, drawn.reference_b)
    output = loss(same, MIXED)
    assert output.weight.min() > 0
    torch.testing.assert_close(output.loss_sum, math.log(2) * output.weight)


@every_loss
def test_swapping_members_and_flipping_labels_changes_neither_loss_nor_gradients(loss: Loss) -> None:
    errors = random_errors(2)
    swapped = errors.swapped()
    there, back = mean(loss(errors, MIXED)), mean(loss(swapped, -MIXED))
    assert there.item() == back.item()
    for one, other in zip(gradients(errors, there), gradients(errors, back), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0


@every_loss
def test_the_better_members_error_is_pushed_down_and_the_others_up(loss: Loss) -> None:
    errors = random_errors(1)
    to_a, to_b = gradients(errors, mean(loss(errors, torch.ones(1, SEGMENTS, dtype=torch.float64))))
    assert (to_a > 0).all()
    assert (to_b < 0).all()


@every_loss
def test_a_tie_has_exactly_no_loss_no_weight_and_no_gradient(loss: Loss) -> None:
    errors = random_errors(2)
    labels = MIXED.clone()
    labels[1] = 0
    output = loss(errors, labels)
    assert (output.loss_sum[1].item(), output.weight[1].item()) == (0.0, 0.0)
    to_a, to_b = gradients(errors, mean(output))
    assert not to_a[1].any()
    assert not to_b[1].any()
    assert to_a[0].any()


@every_loss
def test_a_batch_without_any_counted_frame_has_loss_0_and_gradient_0(loss: Loss) -> None:
    errors = random_errors(3)
    total = mean(loss(errors, torch.zeros(3, SEGMENTS, dtype=torch.float64)))
    assert total.item() == 0.0
    assert all(torch.equal(each, torch.zeros_like(each)) for each in gradients(errors, total))


@every_loss
def test_an_overflowing_error_of_an_uncounted_pair_does_no_harm(loss: Loss) -> None:
    errors = random_errors(2)
    with torch.no_grad():
        errors.policy_a[1] = torch.inf
    labels = MIXED.clone()
    labels[1] = 0
    total = mean(loss(errors, labels))
    assert torch.isfinite(total)
    assert all(torch.isfinite(each).all() for each in gradients(errors, total))


def test_tied_segments_leave_their_own_frames_alone() -> None:
    errors = random_errors(1)
    labels = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)  # covers frames 0, 1 and most of 2
    for name in ("frame", "segment", "video"):
        to_a, _ = gradients(errors, mean(LOSSES[name](errors, labels)))
        assert to_a[0, :3].all(), name
        assert not to_a[0, 3:].any(), name


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_frame_and_one_segment_make_dense_dpo_flow_dpo(sign: float) -> None:
    errors = random_errors(5, frames=1)
    signs, ones = torch.full((5, 1), sign, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    flow = flow_dpo(errors, signs[:, 0], ones[:, 0], BETA)
    for dense in (
        dense_dpo(errors, signs, ones, BETA),
        dense_dpo_video(errors, signs, ones, BETA),
        dense_dpo_segment(errors, signs, ones, torch.ones(1, 1, dtype=torch.float64), BETA),
    ):
        torch.testing.assert_close(dense.loss_sum, flow.loss_sum, rtol=1e-14, atol=0)
        assert torch.equal(dense.weight, flow.weight)
        for one, other in zip(gradients(errors, mean(dense)), gradients(errors, mean(flow)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), pairs=st.integers(1, 4), sign=st.sampled_from([1.0, -1.0]))
def test_on_uniform_labels_dense_is_never_below_structural(seed: int, pairs: int, sign: float) -> None:
    """Jensen: the mean of -log sigmoid over frames is at least -log sigmoid of the mean."""
    errors = random_errors(pairs, seed)
    labels = torch.full((pairs, SEGMENTS), sign, dtype=torch.float64)
    dense, structural = mean(LOSSES["frame"](errors, labels)), mean(LOSSES["whole"](errors, labels))
    assert dense.item() > structural.item()  # equal only if all frames' gaps are


def test_on_uniform_labels_dense_and_structural_have_equal_gradients_at_the_reference() -> None:
    drawn = random_errors(3)
    errors = PairErrors(drawn.policy_a, drawn.policy_b, drawn.policy_a.detach(), drawn.policy_b.detach())
    labels = torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64).expand(3, SEGMENTS)
    dense = gradients(errors, mean(LOSSES["frame"](errors, labels)))
    structural = gradients(errors, mean(LOSSES["whole"](errors, labels)))
    for one, other in zip(dense, structural, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
        assert one.abs().min() > 0


def test_one_sigmoid_a_video_is_as_many_times_hotter_as_there_are_frames() -> None:
    drawn = random_errors(1)
    errors = PairErrors(drawn.policy_a, drawn.policy_b, drawn.policy_a.detach(), drawn.policy_b.detach())
    labels = torch.ones(1, SEGMENTS, dtype=torch.float64)
    (per_frame, _), (per_video, _) = (
        gradients(errors, mean(loss(errors, labels))) for loss in (LOSSES["frame"], video)
    )
    torch.testing.assert_close(per_video, FRAMES * per_frame, rtol=1e-12, atol=0)
