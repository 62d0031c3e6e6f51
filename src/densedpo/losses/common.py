"""What all preference losses take and give.

Shapes: B pairs, F latent frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairErrors:
    """Mean squared prediction errors per latent frame (mean over channels, height, width), each `[B, F]`."""

    policy_a: Tensor
    policy_b: Tensor
    reference_a: Tensor
    reference_b: Tensor

    @property
    def delta_a(self) -> Tensor:
        """How much worse the policy predicts a than the reference does, `[B, F]`; negative is better."""
        return self.policy_a - self.reference_a

    @property
    def delta_b(self) -> Tensor:
        """The same for b, `[B, F]`."""
        return self.policy_b - self.reference_b

    def swapped(self) -> PairErrors:
        """The same pairs with a and b exchanged."""
        return PairErrors(self.policy_b, self.policy_a, self.reference_b, self.reference_a)


@dataclass(frozen=True)
class LossOutput:
    """Sums and weights a sample, for the loop to reduce: loss = loss_sum.sum() / weight.sum() over the whole window.

    `inside` are the arguments of the sigmoid `[B, U]` (U frames, segments or 1), `inside_weight` `[B, U]` says how
    much each counts.
    """

    loss_sum: Tensor
    weight: Tensor
    inside: Tensor
    inside_weight: Tensor


def weighted_log_sigmoid(inside_BU: Tensor, weight_BU: Tensor) -> LossOutput:
    """-log sigmoid(inside), weighted outside the sigmoid. A unit of weight 0 adds neither loss nor gradient."""
    counted = weight_BU > 0
    terms = -torch.nn.functional.logsigmoid(torch.where(counted, inside_BU, torch.zeros_like(inside_BU)))
    return LossOutput(
        loss_sum=(weight_BU * terms).sum(dim=1),
        weight=weight_BU.sum(dim=1),
        inside=inside_BU.detach(),
        inside_weight=weight_BU,
    )
