"""What an optimiser step saw: winner and loser apart, for all noise levels and for each fifth of them.

Shapes: B slots, F latent frames, U units (frames, segments, or the whole video).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from densedpo.losses.common import LossOutput, PairErrors
from densedpo.training.lengths import stacked

BINS = 5


class Measurements:
    """Gathered over the micro-batches of a step."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, errors: PairErrors, output: LossOutput, sigma_B: Tensor, sign_BF: Tensor, size_BF: Tensor) -> None:
        """Winner and loser apart: a falling gap can hide that both get worse (unlearning, appendix B of the paper)."""
        a_wins = sign_BF > 0
        rows = {
            "inside": output.inside,
            "inside_weight": output.inside_weight,
            "winner": torch.where(a_wins, errors.delta_a, errors.delta_b),
            "loser": torch.where(a_wins, errors.delta_b, errors.delta_a),
            "size": size_BF,
            "sigma": sigma_B,
        }
        for name, values in rows.items():
            self._parts.setdefault(name, []).append(values.detach().cpu())

    def joined(self, others: Iterable[Measurements]) -> Measurements:
        """These and what other processes gathered in the same step."""
        whole = Measurements()
        for each in (self, *others):
            for name, values in each._parts.items():
                whole._parts.setdefault(name, []).extend(values)
        return whole

    def summary(self) -> dict[str, Any]:
        """The numbers for the log; 0 where nothing counted, nothing at all if no preference was seen (sft)."""
        if not self._parts:
            return {}
        whole = {name: stacked(values) for name, values in self._parts.items()}  # what shorter videos lack weighs 0
        place = (whole["sigma"] * BINS).long().clamp(max=BINS - 1)
        bins = {}
        for number in sorted(set(place.tolist())):
            part = {name: values[place == number] for name, values in whole.items()}
            kept = ("accuracy", "winner_delta", "loser_delta")
            seen = _summary(part)
            bins[f"{number / BINS:.1f}"] = {name: seen[name] for name in kept} | {"pairs": len(part["sigma"])}
        return _summary(whole) | {"by_sigma": bins}


def _summary(seen: dict[str, Tensor]) -> dict[str, float]:
    live, counted = seen["inside_weight"] > 0, seen["size"] > 0
    if not live.any():
        names = (
            "accuracy",
            "pair_accuracy",
            "inside_median",
            "margin",
            "winner_delta",
            "loser_delta",
            "loser_dominated",
        )
        return dict.fromkeys(names, 0.0)
    inside, weight = seen["inside"], seen["inside_weight"]
    of_pair = (inside * weight).sum(dim=1)[live.any(dim=1)]
    size = seen["size"][counted] / seen["size"][counted].sum()
    winner, loser = seen["winner"][counted], seen["loser"][counted]
    return {
        "accuracy": (inside[live] > 0).float().mean().item(),
        "pair_accuracy": (of_pair > 0).float().mean().item(),
        "inside_median": inside[live].abs().median().item(),
        "margin": (inside[live] * weight[live]).sum().item() / weight[live].sum().item(),
        "winner_delta": (winner * size).sum().item(),
        "loser_delta": (loser * size).sum().item(),
        "loser_dominated": ((loser.abs() > winner.abs()).float() * size).sum().item(),
    }
