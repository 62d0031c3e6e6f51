"""Which loss a method means.

Shapes: B slots, F latent frames, S segments.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from densedpo.losses.common import Link, LossOutput, PairErrors
from densedpo.losses.dense_dpo import dense_dpo, dense_dpo_segment, dense_dpo_video
from densedpo.losses.displacement import anchored, safeguard
from densedpo.losses.flow_dpo import flow_dpo
from densedpo.training.data import Batch
from densedpo.training.settings import TrainSettings


def frame_preferences(batch: Batch, frames_SF: Tensor, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Sign and size of every latent frame's preference, each `[B, F]`.

    Dense: m_f = sum_s w_sf c_s l_s, sign(m_f) and |m_f|. Whole-video methods: the same for every frame.
    """
    if settings.method == "dense":
        mean_BF = (batch.sign_BS * batch.weight_BS) @ frames_SF
    else:
        mean_BF = (batch.video_sign_B * batch.video_weight_B)[:, None].expand(-1, frames_SF.shape[1])
    return mean_BF.sign(), mean_BF.abs()


def preference_loss(
    errors: PairErrors,
    batch: Batch,
    frames_SF: Tensor,
    sigma_weight_B: Tensor,
    beta_mean: float,
    settings: TrainSettings,
) -> LossOutput:
    """The method's loss, per pair and unreduced."""
    sign_BF, size_BF = frame_preferences(batch, frames_SF, settings)
    link = Link(settings.loss, settings.label_smoothing)
    given = errors
    if settings.safeguard is not None and errors.policy_ab is not None:
        errors = safeguard(errors, sign_BF, settings.safeguard)
    if settings.method != "dense":
        output = flow_dpo(errors, batch.video_sign_B, batch.video_weight_B, beta_mean, link)
    elif settings.reduction == "segment":
        output = dense_dpo_segment(errors, batch.sign_BS, batch.weight_BS, frames_SF, beta_mean, link)
    else:
        frame_or_video = dense_dpo if settings.reduction == "frame" else dense_dpo_video
        output = frame_or_video(errors, sign_BF, size_BF, beta_mean, link)
    if settings.anchor > 0:
        output = anchored(output, given, sign_BF, size_BF, settings.anchor)
    return dataclasses.replace(
        output,
        loss_sum=output.loss_sum * sigma_weight_B,
        weight=output.weight * sigma_weight_B,
        inside_weight=output.inside_weight * sigma_weight_B[:, None],
    )


def matching_loss(error_BF: Tensor, sigma_weight_B: Tensor) -> LossOutput:
    """Plain flow matching (sft): the mean error of each video."""
    nothing = torch.zeros(len(error_BF), 1)
    return LossOutput(error_BF.mean(dim=1) * sigma_weight_B, sigma_weight_B, nothing, nothing)


def total_weight(batch: Batch, frames_SF: Tensor, sigma_weight_B: Tensor, settings: TrainSettings) -> float:
    """What the loss of this batch will be divided by; known from labels and noise levels alone, before any forward."""
    if settings.method == "sft":
        return float(sigma_weight_B.sum())
    nothing = torch.zeros(len(batch.slots), frames_SF.shape[1])
    errors = PairErrors(nothing, nothing, nothing, nothing)
    return float(preference_loss(errors, batch, frames_SF, sigma_weight_B, 1.0, settings).weight.sum())
