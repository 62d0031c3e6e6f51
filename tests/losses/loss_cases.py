"""Every loss as one function of errors and segment labels, so that what holds for all is tested on all."""

from collections.abc import Callable

import torch
from torch import Tensor

from densedpo.losses.common import LossOutput, PairErrors
from densedpo.losses.dense_dpo import dense_dpo, dense_dpo_segment, dense_dpo_video
from densedpo.losses.flow_dpo import flow_dpo
from densedpo.store.segments import latent_weights, segment_grid

BETA = 2.0
FRAMES_SF = torch.tensor(latent_weights(segment_grid(33, 8, 1.0), 33, 4), dtype=torch.float64)  # [4, 9]
SEGMENTS, FRAMES = FRAMES_SF.shape

Loss = Callable[[PairErrors, Tensor], LossOutput]


def frame(errors: PairErrors, label_BS: Tensor) -> LossOutput:
    mean_BF = label_BS @ FRAMES_SF
    return dense_dpo(errors, mean_BF.sign(), mean_BF.abs(), BETA)


def video(errors: PairErrors, label_BS: Tensor) -> LossOutput:
    mean_BF = label_BS @ FRAMES_SF
    return dense_dpo_video(errors, mean_BF.sign(), mean_BF.abs(), BETA)


def segment(errors: PairErrors, label_BS: Tensor) -> LossOutput:
    return dense_dpo_segment(errors, label_BS.sign(), label_BS.abs(), FRAMES_SF, BETA)


def whole(errors: PairErrors, label_BS: Tensor) -> LossOutput:
    """Flow-DPO on the first segment's label, as if it had been given to the whole video."""
    return flow_dpo(errors, label_BS[:, 0].sign(), label_BS[:, 0].abs(), BETA)


LOSSES: dict[str, Loss] = {"frame": frame, "segment": segment, "video": video, "whole": whole}


def random_errors(pairs: int, seed: int = 0, frames: int = FRAMES) -> PairErrors:
    """Errors around 1, float64; gradients are wanted for the policy's."""
    drawn = torch.rand(4, pairs, frames, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    return PairErrors(drawn[0].requires_grad_(), drawn[1].requires_grad_(), drawn[2], drawn[3])


def mean(output: LossOutput) -> Tensor:
    """How the training loop reduces."""
    return output.loss_sum.sum() / output.weight.sum().clamp(min=1e-12)


def gradients(errors: PairErrors, loss: Tensor) -> tuple[Tensor, Tensor]:
    a, b = torch.autograd.grad(loss, (errors.policy_a, errors.policy_b), retain_graph=True)
    return a, b
