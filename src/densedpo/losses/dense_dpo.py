"""DenseDPO (arXiv 2506.03517): a preference on every segment, trained on every latent frame.

Shapes: B pairs, F latent frames, S segments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from densedpo.losses.common import SIGMOID, Link, LossOutput, PairErrors, weighted_loss


def dense_dpo(errors: PairErrors, sign_BF: Tensor, size_BF: Tensor, beta: float, link: Link = SIGMOID) -> LossOutput:
    """One sigmoid per latent frame (appendix E; the default).

    inside_f = -0.5 beta l_f (Delta_a,f - Delta_b,f); loss = sum_f |m_f| (-log sigmoid(inside_f)) / sum_f |m_f|.

    Args:
        sign_BF: l_f in {-1, 0, +1}: +1 where a is better.
        size_BF: |m_f| in [0, 1]: how much of the frame is labelled, with what confidence; 0 for ties and unlabelled.
        beta: strength, in units of *mean* squared error.
        link: from the argument of the sigmoid to the loss.
    """
    inside_BF = -0.5 * beta * sign_BF * (errors.delta_a - errors.delta_b)
    return weighted_loss(inside_BF, size_BF, link)


def dense_dpo_video(
    errors: PairErrors, sign_BF: Tensor, size_BF: Tensor, beta: float, link: Link = SIGMOID
) -> LossOutput:
    """One sigmoid per video over the *sum* of its frames' terms (Eq. 7). Up to F times hotter than per frame."""
    terms_BF = -0.5 * beta * sign_BF * size_BF * (errors.delta_a - errors.delta_b)
    weight_B1 = (size_BF.sum(dim=1, keepdim=True) > 0).to(terms_BF.dtype)
    return weighted_loss(terms_BF.sum(dim=1, keepdim=True), weight_B1, link)


def dense_dpo_segment(
    errors: PairErrors, sign_BS: Tensor, weight_BS: Tensor, frames_SF: Tensor, beta: float, link: Link = SIGMOID
) -> LossOutput:
    """One sigmoid per segment over the weighted mean of its frames.

    Args:
        sign_BS: +1 where a is better in the segment, -1 where b is, 0 for ties and unlabelled.
        weight_BS: the label's confidence in [0, 1].
        frames_SF: share of each latent frame that lies in each segment (columns sum to 1).
    """
    reach_S = frames_SF.sum(dim=1)  # 0: a segment of given frames alone, which counts in no loss
    share_SF = frames_SF / reach_S.clamp(min=1e-12)[:, None]
    gap_BS = torch.einsum("bf,sf->bs", errors.delta_a - errors.delta_b, share_SF.to(errors.delta_a))
    return weighted_loss(-0.5 * beta * sign_BS * gap_BS, weight_BS * sign_BS.abs() * (reach_S > 0), link)
