"""Remedies for likelihood displacement: both errors rise, the loser's only faster (appendix B of the paper).

Shapes: B pairs, F latent frames.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from densedpo.losses.common import LossOutput, PairErrors


def safeguard(errors: PairErrors, sign_BF: Tensor, slack: float) -> PairErrors:
    """Diffusion-SDPO (arXiv 2511.03317), per pair and latent frame: the same values, the loser's gradient scaled.

    With g_w, g_l the output-space gradients of winner's and loser's errors (twice the prediction errors), the loser's
    is multiplied by 1 if <g_l, g_w> <= 0, else by clamp((1 - mu) |g_w|^2 / <g_l, g_w>, 0, 1): to first order, and as
    far as gradients in output space stand for those of weights, the step then does not raise the winner's error.

    Args:
        errors: with `policy_ab`.
        sign_BF: +1 where a wins, -1 where b does, 0 neither (untouched).
        slack: mu in [0, 1].
    """
    assert errors.policy_ab is not None, "the safeguard needs the product of both errors"
    product_BF = errors.policy_ab
    winner_BF = torch.where(sign_BF > 0, errors.policy_a, errors.policy_b).detach()
    bound_BF = ((1 - slack) * winner_BF / product_BF.clamp(min=1e-12)).clamp(0, 1)
    scale_BF = torch.where(product_BF <= 0, torch.ones_like(bound_BF), bound_BF)
    one = torch.ones_like(scale_BF)
    return dataclasses.replace(
        errors,
        policy_a=_scale_gradient(errors.policy_a, torch.where(sign_BF < 0, scale_BF, one)),
        policy_b=_scale_gradient(errors.policy_b, torch.where(sign_BF > 0, scale_BF, one)),
    )


def _scale_gradient(values: Tensor, scale: Tensor) -> Tensor:
    return scale * values + (1 - scale) * values.detach()


def anchored(output: LossOutput, errors: PairErrors, sign_BF: Tensor, size_BF: Tensor, strength: float) -> LossOutput:
    """Add `strength` times the winner's own flow-matching error, a mean over the counted frames.

    It weighs as much as the pair's preference does, so that reduction leaves it a mean: supervised fine-tuning on the
    winner, frame by frame (arXiv 2404.19733 adds the like to DPO of language models).
    """
    winner_BF = torch.where(sign_BF > 0, errors.policy_a, errors.policy_b)
    mean_B = (size_BF * winner_BF).sum(dim=1) / size_BF.sum(dim=1).clamp(min=1e-12)
    return dataclasses.replace(output, loss_sum=output.loss_sum + strength * output.weight * mean_B)
