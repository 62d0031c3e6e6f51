"""Which loss a method means, and what to log about it.

Shapes: B pairs, F latent frames, S segments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from densedpo.losses.common import LossOutput, PairErrors
from densedpo.losses.dense_dpo import dense_dpo, dense_dpo_segment, dense_dpo_video
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


def loss_of(errors: PairErrors, batch: Batch, frames_SF: Tensor, settings: TrainSettings) -> LossOutput:
    """The method's loss, per pair and unreduced."""
    if settings.method != "dense":
        return flow_dpo(errors, batch.video_sign_B, batch.video_weight_B, settings.beta)
    if settings.reduction == "segment":
        return dense_dpo_segment(errors, batch.sign_BS, batch.weight_BS, frames_SF, settings.beta)
    sign_BF, size_BF = frame_preferences(batch, frames_SF, settings)
    frame_or_video = dense_dpo if settings.reduction == "frame" else dense_dpo_video
    return frame_or_video(errors, sign_BF, size_BF, settings.beta)


def total_weight(batch: Batch, frames_SF: Tensor, settings: TrainSettings) -> float:
    """What the loss of this batch will be divided by; known from the labels alone, before any forward."""
    nothing = torch.zeros(len(batch.keys), frames_SF.shape[1])
    errors = PairErrors(nothing, nothing, nothing, nothing)
    return float(loss_of(errors, batch, frames_SF, settings).weight.sum())


class Measurements:
    """What one optimiser step saw, gathered over its micro-batches."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, errors: PairErrors, output: LossOutput, sign_BF: Tensor, size_BF: Tensor) -> None:
        """Winner and loser apart: a falling gap can hide that both get worse (unlearning, appendix B of the paper)."""
        a_wins, counted = sign_BF > 0, size_BF > 0
        winner = torch.where(a_wins, errors.delta_a, errors.delta_b)[counted]
        loser = torch.where(a_wins, errors.delta_b, errors.delta_a)[counted]
        live = output.inside_weight > 0
        rows = {"inside": output.inside[live], "winner": winner, "loser": loser, "size": size_BF[counted]}
        for name, values in rows.items():
            self._parts.setdefault(name, []).append(values)

    def summary(self) -> dict[str, float]:
        """The numbers for the log; 0 where nothing counted."""
        whole = {name: torch.cat(values) for name, values in self._parts.items()}
        if not len(whole["inside"]):
            return dict.fromkeys(("accuracy", "inside_median", "winner_delta", "loser_delta", "loser_dominated"), 0.0)
        size = whole["size"] / whole["size"].sum()
        dominated = (whole["loser"].abs() > whole["winner"].abs()).float()
        return {
            "accuracy": (whole["inside"] > 0).float().mean().item(),
            "inside_median": whole["inside"].abs().median().item(),
            "winner_delta": (whole["winner"] * size).sum().item(),
            "loser_delta": (whole["loser"] * size).sum().item(),
            "loser_dominated": (dominated * size).sum().item(),
        }
