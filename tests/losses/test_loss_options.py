"""What the options of the loss do, worked out by hand."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from densedpo.losses.common import Link, PairErrors, weighted_loss
from densedpo.losses.dense_dpo import dense_dpo
from densedpo.losses.displacement import anchored, safeguard


def doubles(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def log_sigmoid(z: float) -> float:
    return -math.log1p(math.exp(-z))


def test_label_smoothing_mixes_in_the_opposite_label() -> None:
    output = weighted_loss(doubles([2.0, -1.0]), doubles([1.0, 0.5]), Link(label_smoothing=0.1))
    expected = -(0.9 * log_sigmoid(2) + 0.1 * log_sigmoid(-2)) - 0.5 * (0.9 * log_sigmoid(-1) + 0.1 * log_sigmoid(1))
    assert output.loss_sum.item() == pytest.approx(expected, rel=1e-12)
    assert output.weight.item() == 1.5


def test_smoothed_labels_have_a_finite_optimum() -> None:
    """d/dz [(1 - e) softplus(-z) + e softplus(z)] = sigmoid(z) - (1 - e): zero at z = log((1 - e) / e)."""
    inside = doubles([math.log(0.8 / 0.2)]).requires_grad_()
    weighted_loss(inside, doubles([1.0]), Link(label_smoothing=0.2)).loss_sum.sum().backward()
    assert inside.grad is not None
    assert inside.grad.item() == pytest.approx(0, abs=1e-12)


def test_ipo_pulls_the_margin_to_one_half() -> None:
    inside = doubles([2.0, 0.5, -1.0]).requires_grad_()
    output = weighted_loss(inside, doubles([1.0, 1.0, 0.25]), Link("ipo"))
    assert output.loss_sum.item() == pytest.approx(1.5**2 + 0 + 0.25 * 1.5**2, rel=1e-12)
    output.loss_sum.sum().backward()
    assert inside.grad is not None
    assert inside.grad.tolist() == [[3.0, 0.0, -0.75]]


def test_units_of_weight_zero_cost_nothing_with_ipo_either() -> None:
    inside = doubles([2.0, 7.0]).requires_grad_()
    output = weighted_loss(inside, doubles([1.0, 0.0]), Link("ipo"))
    assert output.loss_sum.item() == 2.25
    output.loss_sum.sum().backward()
    assert inside.grad is not None and inside.grad.tolist() == [[3.0, 0.0]]


def residual_errors(policy_a: Tensor, policy_b: Tensor) -> PairErrors:
    """Errors of one pair from its residuals, `[F, E]` (E elements a latent frame)."""
    squares = [(policy * policy).mean(dim=1)[None] for policy in (policy_a, policy_b)]
    product = (policy_a * policy_b).mean(dim=1)[None].detach()
    return PairErrors(squares[0], squares[1], torch.zeros_like(squares[0]), torch.zeros_like(squares[0]), product)


# Three frames. Residuals of a: (1, 2); of b: the same direction twice as far; opposed; and at an angle.
A = doubles([1.0, 2.0], [1.0, 2.0], [1.0, 2.0])
B = doubles([2.0, 4.0], [-1.0, -2.0], [3.0, 0.0])


def test_the_safeguard_shrinks_the_losers_gradient_where_both_pull_alike() -> None:
    """a wins. |g_w|^2 = 5 / 2; products 10 / 2, -5 / 2, 3 / 2: scales 5 / 10, 1 (opposed), clamp(5 / 3) = 1."""
    b = B.clone().requires_grad_()
    errors = residual_errors(A, b)
    guarded = safeguard(errors, doubles([1.0, 1.0, 1.0]), slack=0.0)
    for field in dataclasses.fields(PairErrors):
        assert torch.equal(getattr(guarded, field.name), getattr(errors, field.name))
    slopes = [torch.autograd.grad(e.policy_b.sum(), b, retain_graph=True)[0] for e in (errors, guarded)]
    assert (slopes[1] / slopes[0])[:, 0].tolist() == pytest.approx([0.5, 1.0, 1.0], rel=1e-12)


def test_slack_shrinks_it_further() -> None:
    """(1 - 0.6) * 5 / 10 = 0.2; opposed: 1; 0.4 * 5 / 3 = 2 / 3."""
    b = B.clone().requires_grad_()
    slope = torch.autograd.grad(safeguard(residual_errors(A, b), doubles([1.0, 1.0, 1.0]), 0.6).policy_b.sum(), b)[0]
    plain = torch.autograd.grad(residual_errors(A, b).policy_b.sum(), b)[0]
    assert (slope / plain)[:, 0].tolist() == pytest.approx([0.2, 1.0, 2 / 3], rel=1e-12)


def test_the_safeguard_leaves_winners_and_ties_alone() -> None:
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    guarded = safeguard(residual_errors(a, b), doubles([1.0, 0.0, -1.0]), slack=0.5)
    plain = residual_errors(a, b)
    slopes = [torch.autograd.grad(e.policy_a.sum() + e.policy_b.sum(), (a, b)) for e in (plain, guarded)]
    a_scale, b_scale = ((new / old)[:, 1].tolist() for old, new in zip(*slopes, strict=True))
    assert a_scale[:2] == [1.0, 1.0]  # wins; tie
    assert b_scale[1] == 1.0  # tie
    # b wins the last frame: |g_w|^2 = 9 / 2, product 3 / 2, so a's scale is clamp(0.5 * 9 / 3) = 1
    assert a_scale[2] == 1.0
    assert b_scale[0] == pytest.approx(0.25)


def test_a_guarded_step_does_not_raise_the_winners_error() -> None:
    """Both residuals move by one shared step in output space, as if the Jacobian were the identity: their model."""
    for seed in range(20):
        drawn = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        moved = {}
        for guard in (False, True):
            shared = torch.zeros(1, 8, dtype=torch.float64, requires_grad=True)
            errors = residual_errors(drawn[0] + shared, drawn[1] + 0.5 * drawn[0] + shared)
            if guard:
                errors = safeguard(errors, doubles([1.0]), slack=0.0)
            dense_dpo(errors, doubles([1.0]), doubles([1.0]), 1.0).loss_sum.sum().backward()
            assert shared.grad is not None
            after = residual_errors(drawn[0] - 1e-6 * shared.grad, drawn[1])
            moved[guard] = (after.policy_a - (drawn[0] ** 2).mean()).item()
        assert moved[True] <= 1e-12
        assert moved[True] <= moved[False] + 1e-12


def test_the_anchor_adds_the_winners_own_error() -> None:
    """a wins frame 0 with size 1, b frame 1 with size 0.5, frame 2 is a tie: (1 * 0.9 + 0.5 * 0.8) / 1.5."""
    errors = PairErrors(doubles([0.9, 1.2, 5.0]), doubles([1.1, 0.8, 7.0]), doubles([1, 1, 1]), doubles([1, 1, 1]))
    sign, size = doubles([1, -1, 0]), doubles([1, 0.5, 0])
    output = dense_dpo(errors, sign, size, 2.0)
    added = anchored(output, errors, sign, size, 0.3)
    assert torch.equal(added.weight, output.weight)
    assert (added.loss_sum - output.loss_sum).item() == pytest.approx(0.3 * 1.5 * (1.3 / 1.5), rel=1e-12)
