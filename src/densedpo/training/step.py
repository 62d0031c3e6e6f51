"""One optimiser step: draw → errors of policy and reference → loss → backward → clip, step.

Shapes: B slots, N videos (all a, then all b), F latent frames, S segments.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, uncounted_frames
from densedpo.losses.common import LossOutput, PairErrors
from densedpo.models.encoded import conditioning, first_frames_of
from densedpo.store.project import Project
from densedpo.store.shapes import Shape, like_batches
from densedpo.training.data import Batch, Slot, load_batch
from densedpo.training.draws import draw_noise, draw_sigma, sigma_weights
from densedpo.training.errors import Inputs, frame_errors, prepare, products, residual
from densedpo.training.measurements import Measurements
from densedpo.training.objective import frame_preferences, matching_loss, preference_loss, total_weight
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable, reference_errors
from densedpo.training.settings import TrainSettings


@dataclass(frozen=True)
class Engine:
    """What every step needs and none changes but the model's adapter."""

    project: Project
    model: VideoModel
    settings: TrainSettings
    table: ReferenceTable | None
    processes: Processes

    def load(self, slots: Sequence[Slot]) -> list[Batch]:
        """The latents of this process's part of the slots, a micro-batch of one shape each.

        Slots are dealt by shape, so that processes have alike work. Where every forward is common work, a process that
        has fewer micro-batches than another runs along with some that count for nothing.
        """
        dealt, size = sorted(slots, key=_shape), self.settings.micro_batch or len(slots)
        batches = [load_batch(part) for part in like_batches(self.processes.part(dealt), _shape, size)]
        if self.processes.sharded and not self.processes.share_videos:
            parts = (dealt[rank :: self.processes.count] for rank in range(self.processes.count))
            idle = max(len(like_batches(part, _shape, size)) for part in parts) - len(batches)
            batches += [dataclasses.replace(load_batch(slots[:1]), counts=False) for _ in range(idle)]
        return batches

    def inputs(self, batch: Batch, sigma_B: Tensor) -> Inputs:
        """What the denoiser is given for a batch."""
        noises = draw_noise(batch.slots, tuple(batch.a_BCFHW.shape[1:]), self.settings)
        images = first_frames_of(self.project, self.model, [slot.example.id for slot in batch.slots])
        told = conditioning(self.project, self.model, batch.prompts, images)
        return prepare(self.model, batch, told, sigma_B, noises, self.settings)

    def sigmas(self, batch: Batch) -> Tensor:
        """The batch's noise levels, `[B]`."""
        return draw_sigma(batch.slots, tuple(batch.a_BCFHW.shape[1:]), self.settings, self.model)

    def reference(self, batch: Batch, inputs: Inputs) -> Tensor | None:
        """The reference's errors, `[N, F]`: from the table, or by a forward without gradient; sft has none."""
        if self.settings.method == "sft":
            return None
        if self.table is not None:
            return self.table.errors(self.model, batch.slots, inputs, self.settings, self.processes)
        return reference_errors(self.model, inputs, self.settings)

    def products(self, batch: Batch, wrong_NCFHW: Tensor) -> Tensor | None:
        """What the safeguard needs besides the errors, `[B, F]`; None without a safeguard, or of single videos."""
        wanted = self.settings.safeguard is not None and batch.b_BCFHW is not None
        return products(wrong_NCFHW) if wanted else None

    def loss(
        self, batch: Batch, sigma_B: Tensor, policy_NF: Tensor, product_BF: Tensor | None, reference_NF: Tensor | None
    ) -> tuple[LossOutput, PairErrors | None]:
        """The loss of a batch, unreduced, and the errors it is made of (None for sft)."""
        weight_B = sigma_weights(sigma_B, self.settings)
        if reference_NF is None:
            return matching_loss(policy_NF, weight_B), None
        (policy_a, policy_b), (reference_a, reference_b) = policy_NF.chunk(2), reference_NF.chunk(2)
        errors = PairErrors(policy_a, policy_b, reference_a, reference_b, product_BF)
        return preference_loss(errors, batch, batch.frames_SF, weight_B, self.beta_mean(batch), self.settings), errors

    def beta_mean(self, batch: Batch) -> float:
        """beta in units of mean squared error, for videos of this batch's shape."""
        channels, frames, height, width = batch.a_BCFHW.shape[1:]
        return self.settings.beta_mean((channels, frames - uncounted_frames(self.model), height, width))


def _shape(slot: Slot) -> Shape:
    return slot.example.shape


def accumulate(engine: Engine, batches: Sequence[Batch]) -> tuple[float, Measurements]:
    """Add the gradients of all micro-batches; the loss is divided by the weight of the whole step, of all processes.

    Returns this process's share of the loss, and what it saw.
    """
    settings = engine.settings
    sigmas = [engine.sigmas(batch) for batch in batches]
    whole = engine.processes.sum(weight_of(engine, batches, sigmas))
    measured, loss = Measurements(), 0.0
    backward = _two_pass if settings.two_pass else _one_pass
    for batch, sigma_B in zip(batches, sigmas, strict=True):
        inputs = engine.inputs(batch, sigma_B)
        reference_NF = engine.reference(batch, inputs)
        divisor = max(whole, 1e-12) if batch.counts else math.inf
        output, errors, share = backward(engine, batch, sigma_B, inputs, reference_NF, divisor)
        loss += share
        if errors is not None and batch.counts:
            measured.add(errors, output, sigma_B, *frame_preferences(batch, batch.frames_SF, settings))
    return loss, measured


def weight_of(engine: Engine, batches: Sequence[Batch], sigmas: Sequence[Tensor]) -> float:
    """What these batches add to what the step's loss is divided by."""
    return sum(
        total_weight(batch, batch.frames_SF, sigma_weights(sigma_B, engine.settings), engine.settings)
        for batch, sigma_B in zip(batches, sigmas, strict=True)
        if batch.counts
    )


def _one_pass(
    engine: Engine, batch: Batch, sigma_B: Tensor, inputs: Inputs, reference_NF: Tensor | None, whole: float
) -> tuple[LossOutput, PairErrors | None, float]:
    """One concatenated forward of all videos with gradient, one backward."""
    wrong = residual(engine.model, inputs, engine.settings)
    product = engine.products(batch, wrong)
    output, errors = engine.loss(batch, sigma_B, frame_errors(wrong), product, reference_NF)
    share = output.loss_sum.sum() / whole
    share.backward()  # type: ignore[no-untyped-call]
    return output, errors, share.item()


def _two_pass(
    engine: Engine, batch: Batch, sigma_B: Tensor, inputs: Inputs, reference_NF: Tensor | None, whole: float
) -> tuple[LossOutput, PairErrors | None, float]:
    """The same gradient with half the activations: the loss depends on each video through its frames' errors alone.

    First all errors without gradient, from which dL/de follows; then each member's forward again, with its own dL/de.
    """
    with torch.no_grad():
        wrong = residual(engine.model, inputs, engine.settings)
        product = engine.products(batch, wrong)
        policy_NF = frame_errors(wrong)
        del wrong
    policy_NF.requires_grad_()
    output, errors = engine.loss(batch, sigma_B, policy_NF, product, reference_NF)
    share = output.loss_sum.sum() / whole
    (slope_NF,) = torch.autograd.grad(share, policy_NF)
    for first in range(0, len(slope_NF), len(batch.slots)):
        rows = range(first, first + len(batch.slots))
        member = frame_errors(residual(engine.model, inputs.take(rows), engine.settings))
        member.backward(slope_NF[first : rows.stop])  # type: ignore[no-untyped-call]
    return output, errors, share.item()


@torch.no_grad()
def validation_loss(engine: Engine, batches: Sequence[Batch]) -> float:
    """The loss of these batches, without a step."""
    sigmas = [engine.sigmas(batch) for batch in batches]
    total = 0.0
    for batch, sigma_B in zip(batches, sigmas, strict=True):
        inputs = engine.inputs(batch, sigma_B)
        wrong = residual(engine.model, inputs, engine.settings)
        product = engine.products(batch, wrong)
        output, _ = engine.loss(batch, sigma_B, frame_errors(wrong), product, engine.reference(batch, inputs))
        total += output.loss_sum.sum().item() if batch.counts else 0.0
    whole = engine.processes.sum(weight_of(engine, batches, sigmas))
    return engine.processes.sum(total) / max(whole, 1e-12)
