"""Several processes that train one adapter: each takes a part of every batch, and all take the same step.

Started by `torchrun` or `accelerate launch`. The batch of a step, its draws and what its loss is divided by are those
of one process, so the number of processes changes nothing but speed, also between a stop and a restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from densedpo.training.data import Slot

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # with which the others wait while the first encodes prompts; by default ten minutes


class Processes:
    """This process among the others. Alone, nothing is sent anywhere.

    They share the pairs of every batch; or, with `share_videos`, each video, so that all see every pair and every loss.
    If the weights are `sharded`, every forward is common work of all processes.
    """

    def __init__(self, device: torch.device, sharded: bool = False, share_videos: bool = False) -> None:
        self.device = device
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.sharded, self.share_videos = sharded and self.count > 1, share_videos and self.count > 1
        if self.count > 1:
            from accelerate.state import PartialState

            # Joins the process group: gloo on CPUs, NCCL on GPUs.
            PartialState(cpu=device.type == "cpu", timeout=PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and talks."""
        return self.rank == 0

    def part(self, slots: Sequence[Slot]) -> Sequence[Slot]:
        """This process's part of a batch."""
        return slots if self.share_videos else slots[self.rank :: self.count]

    def runs_along(self, needed: bool) -> bool:
        """Whether this process is to run a forward that it has work for (`needed`), or others have if all must run."""
        return any(self.gather(needed)) if self.sharded else needed

    def sum(self, value: float) -> float:
        """The sum over all parts of a batch."""
        return sum(self.gather(value))

    def gather(self, value: T) -> list[T]:
        """The value of every part of a batch, by rank."""
        if self.count == 1 or self.share_videos:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients, in one message: adapters are small."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):  # type: ignore[no-untyped-call]
            parameter.grad = part.view_as(parameter).clone()

    def first_first(self, work: Callable[[], T]) -> T:
        """Do the work in the first process, then in the others, which find done what it left on disk; wait for all."""
        if self.first:
            result = work()
        self.wait()
        if not self.first:
            result = work()
        self.wait()
        return result

    def wait(self) -> None:
        """Until everybody is here."""
        if self.count > 1:
            dist.barrier()
