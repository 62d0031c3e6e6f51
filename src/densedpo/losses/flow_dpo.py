"""Flow-DPO (VideoAlign, arXiv 2501.13918), after Diffusion-DPO (arXiv 2311.12908): one preference a video.

The loss of VanillaDPO (independent pairs) and of StructuralDPO (guided pairs). Shapes: B pairs, F latent frames.
"""

from __future__ import annotations

from torch import Tensor

from densedpo.losses.common import SIGMOID, Link, LossOutput, PairErrors, weighted_loss


def flow_dpo(errors: PairErrors, sign_B: Tensor, weight_B: Tensor, beta: float, link: Link = SIGMOID) -> LossOutput:
    """inside = -0.5 beta l (Delta_a - Delta_b), errors averaged over the frames too; beta constant in t.

    Args:
        sign_B: +1 where a is the better video, -1 where b is, 0 for a tie.
        weight_B: the label's confidence in [0, 1].
        beta: strength, in units of *mean* squared error.
        link: from the argument of the sigmoid to the loss.
    """
    gap_B = (errors.delta_a - errors.delta_b).mean(dim=1)
    inside_B = -0.5 * beta * sign_B * gap_B
    return weighted_loss(inside_B[:, None], (weight_B * sign_B.abs())[:, None], link)
