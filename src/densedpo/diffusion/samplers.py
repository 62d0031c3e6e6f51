"""Samplers by name: how a batch gets from its first noise levels to 0.

Shapes: B rows in a step, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from densedpo.diffusion.protocol import VideoModel
from densedpo.diffusion.seeds import Key
from densedpo.errors import UserError


class Solver(Protocol):
    """One batch on its way, with what each row needs to remember. Rows are numbers of the batch's members."""

    def told(self, rows: Sequence[int], sigma_B: Tensor) -> Tensor:
        """The noise level that the network is told where the latents are at `sigma_B`."""
        ...

    def step(
        self,
        rows: Sequence[int],
        noisy_BCFHW: Tensor,
        prediction_BCFHW: Tensor,
        sigma_B: Tensor,
        next_sigma_B: Tensor,
    ) -> Tensor:
        """These rows' latents at their next level."""
        ...


class Sampler(Protocol):
    """A way of sampling one model."""

    multistep: bool  # whether a step looks back at the one before it

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """Its schedule, `[steps + 1]`, descending to 0; `shape` as in `VideoModel.sigmas`."""
        ...

    def begin(self, schedules: Sequence[Tensor], keys: Sequence[Sequence[Key]]) -> Solver:
        """A solver for one batch: each row's noise levels down to 0, and what its random draws are keyed by."""
        ...


class Euler:
    """The process's own first-order step: Euler for rectified flow, DDIM for a variance-preserving process."""

    multistep = False

    def __init__(self, model: VideoModel) -> None:
        self._model = model

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The model's own schedule."""
        return self._model.sigmas(steps, shape)

    def begin(self, schedules: Sequence[Tensor], keys: Sequence[Sequence[Key]]) -> Solver:
        """Nothing to remember."""
        return self

    def told(self, rows: Sequence[int], sigma_B: Tensor) -> Tensor:
        """The very level."""
        return sigma_B

    def step(
        self,
        rows: Sequence[int],
        noisy_BCFHW: Tensor,
        prediction_BCFHW: Tensor,
        sigma_B: Tensor,
        next_sigma_B: Tensor,
    ) -> Tensor:
        """See `Process.step`."""
        return self._model.process.step(noisy_BCFHW, prediction_BCFHW, sigma_B, next_sigma_B)


def sampler_name(model: VideoModel, asked: str) -> str:
    """The name under which a recipe records a sampler: `official` is the one that the checkpoint itself names.

    A model without the attributes `samplers` (name → `Sampler`) and `official_sampler` has Euler alone.

    Raises:
        UserError: the model has no sampler of that name.
    """
    name = str(getattr(model, "official_sampler", "euler")) if asked == "official" else asked
    known = ["euler", *getattr(model, "samplers", {})]
    if name not in known:
        raise UserError(f"{model.name} is not sampled with {name}: choose {' or '.join(known)}")
    return name


def sampler_of(model: VideoModel, name: str) -> Sampler:
    """The sampler of that name.

    Raises:
        UserError: as `sampler_name`.
    """
    name = sampler_name(model, name)
    others: dict[str, Sampler] = getattr(model, "samplers", {})
    return Euler(model) if name == "euler" else others[name]
