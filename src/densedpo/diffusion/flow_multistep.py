"""UniPC and DPM-Solver++ for rectified flow: diffusers' schedulers, one for each row of a batch.

Shapes: B rows in a step, C channels, F latent frames, H height, W width, S = steps + 1 noise levels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from densedpo.diffusion.seeds import Key

SCHEDULERS = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}


class FlowMultistep:
    """UniPC (arXiv 2302.04867) or DPM-Solver++(2M) (arXiv 2211.01095) on a shifted flow-matching schedule.

    The schedulers keep their history for one batch with one schedule; members of ours start at levels of their own, so
    each gets a scheduler of its own.
    """

    multistep = True

    def __init__(self, name: str, config: Mapping[str, Any], shift: float) -> None:
        """`config` is the checkpoint's scheduler config, used whole where it is of this kind."""
        kind = SCHEDULERS[name]
        own = dict(config) if config.get("_class_name") == kind.__name__ else {}
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
        self._scheduler = kind.from_config(own | flow)

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The scheduler's own levels, `[steps + 1]`; the first is a little below 1, where its logarithms end."""
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(steps)
        return torch.as_tensor(scheduler.sigmas)

    def begin(self, schedules: Sequence[Tensor], keys: Sequence[Sequence[Key]]) -> FlowMultistepSolver:
        """A scheduler for each row, set to the row's own levels."""
        return FlowMultistepSolver([self._set_to(sigmas_S) for sigmas_S in schedules])

    def _set_to(self, sigmas_S: Tensor) -> Any:
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(len(sigmas_S) - 1)
        scheduler.sigmas = sigmas_S.cpu()
        scheduler.timesteps = _timesteps(sigmas_S[:-1])
        scheduler.set_begin_index(0)
        return scheduler


class FlowMultistepSolver:
    """See `FlowMultistep`."""

    def __init__(self, schedulers: Sequence[Any]) -> None:
        self._schedulers = schedulers

    def told(self, rows: Sequence[int], sigma_B: Tensor) -> Tensor:
        """The level of the whole timestep below: these schedulers, and so the models' makers, cut off the rest."""
        return _timesteps(sigma_B).double() / 1000  # in float32 a thousand times this is not always whole

    def step(
        self,
        rows: Sequence[int],
        noisy_BCFHW: Tensor,
        prediction_BCFHW: Tensor,
        sigma_B: Tensor,
        next_sigma_B: Tensor,
    ) -> Tensor:
        """Each row's scheduler knows where that row is."""
        stepped = [
            self._schedulers[row].step(prediction[None], timestep, noisy[None], return_dict=False)[0]
            for row, prediction, timestep, noisy in zip(
                rows, prediction_BCFHW, _timesteps(sigma_B), noisy_BCFHW, strict=True
            )
        ]
        return torch.cat(stepped)


def _timesteps(sigmas: Tensor) -> Tensor:
    return (1000 * sigmas.double()).long()
