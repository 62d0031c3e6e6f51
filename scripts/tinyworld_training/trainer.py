"""What both trainings share: the optimiser for matrices, the schedule, checkpoints, the log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim.optimizer import ParamsT


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz (Keller Jordan, 2024), for kernels too: flattened to matrices.

    PyTorch's own `torch.optim.Muon` takes matrices only.
    """

    def __init__(self, parameters: ParamsT, lr: float, momentum: float = 0.95):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(average, group["momentum"]).flatten(1))
                rows, columns = update.shape
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrix, roughly: five quintic Newton-Schulz steps, all on the small Gram matrix."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    identity = torch.eye(len(gram))
    product = identity
    for _ in range(5):
        polynomial = 3.4445 * identity - 4.7750 * gram + 2.0315 * gram @ gram
        product, gram = polynomial @ product, polynomial @ gram @ polynomial
    return (product @ x).T if tall else product @ x


def precision() -> torch.autocast:
    """bfloat16 where the processor has registers for it, else float32: emulated, a step takes fifteen times as long."""
    return torch.autocast("cpu", torch.bfloat16, enabled="AVX512" in torch.backends.cpu.get_cpu_capability())


class Trainer:
    """Steps, learning rate, averaged weights, log. State lives in `out/NAME.pt`, the log in `out/NAME.jsonl`."""

    def __init__(
        self, name: str, out: Path, module: torch.nn.Module, optimisers: list[torch.optim.Optimizer], steps: int
    ):
        self.name, self.out, self.module, self.optimisers, self.steps = name, out, module, optimisers, steps
        self.step, self.seconds = 0, 0.0
        self.peak_lr = [[g["lr"] for g in o.param_groups] for o in optimisers]
        self.averages = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.path = out / f"{name}.pt"
        out.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            module.load_state_dict(state["module"])
            for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.step, self.seconds, self.averages = state["step"], state["seconds"], state["averages"]
            print(f"{name}: resumed at step {self.step}")

    def learning_rate(self) -> float:
        """Warm up over 100 steps, hold, and fall linearly to zero over the last 60%, as a share of the peak."""
        left = (self.steps - self.step) / (0.6 * self.steps)
        return min(1.0, (self.step + 1) / 100, left)

    def run(
        self,
        loss_of: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
        save_every: int,
        ema: float,
        until: int | None = None,
    ) -> None:
        """Train up to `steps`, or stop at step `until` as if interrupted there."""
        end = self.steps if until is None else min(until, self.steps)
        with (self.out / f"{self.name}.jsonl").open("a") as log:
            while self.step < end:
                began = time.time()
                row = self.one_step(loss_of, ema)
                self.seconds += time.time() - began
                if self.step % 20 == 0:
                    print(json.dumps(row | {"seconds": round(self.seconds, 1)}), file=log, flush=True)
                if self.step % save_every == 0 or self.step == end:
                    self.save()

    def one_step(
        self, loss_of: Callable[[int], tuple[torch.Tensor, dict[str, float]]], ema: float
    ) -> dict[str, float | int]:
        for optimiser, peaks in zip(self.optimisers, self.peak_lr, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * self.learning_rate()
        loss, extra = loss_of(self.step)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(ema, self.step / (self.step + 10))
        with torch.no_grad():
            for key, value in self.module.state_dict().items():
                self.averages[key].lerp_(value, 1 - decay)
        return dict(step=self.step, loss=loss.item(), norm=norm.item(), **extra)

    def save(self) -> None:
        state = dict(
            module=self.module.state_dict(),
            averages=self.averages,
            step=self.step,
            seconds=self.seconds,
            optimisers=[o.state_dict() for o in self.optimisers],
        )
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)
