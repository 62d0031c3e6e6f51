"""What all preference losses take and give.

Shapes: B pairs, F latent frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PairErrors:
    """Mean squared prediction errors per latent frame (mean over channels, height, width), each `[B, F]`.

    `policy_ab` is the mean product of the policy's errors on a and on b, without gradient; only the safeguard needs it.
    """

    policy_a: Tensor
    policy_b: Tensor
    reference_a: Tensor
    reference_b: Tensor
    policy_ab: Tensor | None = None

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
        return PairErrors(self.policy_b, self.policy_a, self.reference_b, self.reference_a, self.policy_ab)


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


@dataclass(frozen=True)
class Link:
    """From the argument of the sigmoid to the loss.

    sigmoid: -(1 - e) log sigmoid(inside) - e log sigmoid(-inside), e = `label_smoothing` (conservative DPO, Mitchell
    2023); e = 0 is DPO. ipo: (inside - 1/2)^2, which is beta^2 (h - 1 / (2 beta))^2 with inside = beta h (IPO, arXiv
    2310.12036): pulls the margin to a finite value, where DPO's grows for ever.
    """

    kind: Literal["sigmoid", "ipo"] = "sigmoid"
    label_smoothing: float = 0.0

    def __call__(self, inside: Tensor) -> Tensor:
        """The loss of each unit, of the shape of `inside`."""
        if self.kind == "ipo":
            return (inside - 0.5).square()
        right, wrong = -F.logsigmoid(inside), -F.logsigmoid(-inside)
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong if self.label_smoothing else right


SIGMOID = Link()


def weighted_loss(inside_BU: Tensor, weight_BU: Tensor, link: Link = SIGMOID) -> LossOutput:
    """link(inside), weighted outside of it. A unit of weight 0 adds neither loss nor gradient."""
    counted = weight_BU > 0
    terms = link(torch.where(counted, inside_BU, torch.zeros_like(inside_BU)))
    return LossOutput(
        loss_sum=(weight_BU * terms).sum(dim=1),
        weight=weight_BU.sum(dim=1),
        inside=inside_BU.detach(),
        inside_weight=weight_BU,
    )
