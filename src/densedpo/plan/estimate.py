"""From counted work to memory, hours and cost. docs/plan.md states every formula and assumption in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from densedpo.diffusion.schedule import starting_at
from densedpo.errors import UserError
from densedpo.plan.checkpoint import config_folder
from densedpo.plan.meta import MetaModel, load_meta
from densedpo.plan.settings import PlanSettings
from densedpo.plan.work import Activations, ClipFlops, activations, add_meta_adapter, base_flops, policy_flops

GIB = 2**30
CARDS = (24, 48, 80)  # GiB of common GPUs
USABLE = 0.9  # the share of a card that a plan may fill: the rest is for the driver, the allocator's gaps and kernels
FLOAT32 = 4  # bytes
WITH, WITHOUT = "with checkpointing", "without checkpointing"


@dataclass(frozen=True)
class Plan:
    """What a project will cost. Bytes are those of one GPU; FLOPs and hours are those of all together."""

    model: str
    frames: int
    height: int
    width: int
    tokens: int  # a clip's, in the denoiser
    parameters: dict[str, int]
    clip_flops: ClipFlops
    sampling_calls: int  # denoiser forwards for one pair, each of one clip
    pair_flops: int
    step_flops: dict[str, int]  # with and without a reference table
    memory: dict[str, dict[str, int]]  # with and without checkpointing → part → bytes
    fits: dict[str, dict[str, bool]]  # with and without checkpointing → card → whether
    hours: dict[str, float]
    cost: dict[str, float] | None


def make_plan(name: str, settings: PlanSettings) -> Plan:
    """Plan for a checkpoint, from its config files alone.

    Raises:
        UserError: no such checkpoint, or one for which there are no plans; a size that it cannot take; more GPUs than
            pairs in a batch; weights spread over processes for a model that cannot be trained so.
    """
    if settings.gpus > settings.batch:
        raise UserError(f"{settings.gpus} GPUs cannot share a batch of {settings.batch} pairs: raise --batch")
    with config_folder(name) as folder:
        meta = load_meta(folder, getattr(torch, settings.precision))
    if settings.sharding == "fsdp" and getattr(meta.model, "row_by_row", False):
        raise UserError(f"{name} cannot be trained with its weights spread over GPUs: plan it with --sharding none")
    own = meta.model.defaults
    size = (settings.frames or own.frames, settings.height or own.height, settings.width or own.width)
    shape = meta.model.latent_shape(*size)
    parameters = _parameters(meta)
    forward, encode, decode = base_flops(meta, shape, *size)
    parameters["adapter"] = add_meta_adapter(meta.model.denoiser, meta.model.lora_targets, settings.rank)
    flops = ClipFlops(forward, *policy_flops(meta, shape), encode, decode)
    calls = _sampling_calls(meta, shape, settings)
    pair, step = calls * forward + encode + 2 * decode, _step_flops(flops, settings)
    memory = {
        mode: _memory(meta, activations(meta, shape, checkpointing=mode == WITH), parameters["adapter"], settings)
        for mode in (WITH, WITHOUT)
    }
    hours = _hours(pair, step, settings)
    return Plan(
        name,
        *size,
        _tokens(meta.model.denoiser.config, shape),
        parameters,
        flops,
        calls,
        pair,
        step,
        memory,
        {mode: {f"{card} GB": _fits(parts, card) for card in CARDS} for mode, parts in memory.items()},
        hours,
        None
        if settings.gpu_rate is None
        else {what: each * settings.gpus * settings.gpu_rate for what, each in hours.items()},
    )


def _parameters(meta: MetaModel) -> dict[str, int]:
    """Of each part, before there is an adapter."""
    counts = {"denoiser": _count([meta.model.denoiser])}
    if len(meta.denoisers) > 1:
        counts["other expert"] = _count(meta.denoisers[1:])
    return counts | {"text encoder": _count(meta.text_encoders), "autoencoder": _count([meta.vae])}


def _count(networks: Iterable[torch.nn.Module]) -> int:
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def _bytes(networks: Iterable[torch.nn.Module]) -> int:
    """Of the weights that are not an adapter's."""
    return sum(
        p.numel() * p.element_size() for network in networks for p in network.parameters() if not p.requires_grad
    )


def _tokens(config: Any, shape: tuple[int, int, int, int]) -> int:
    patch = config.patch_size
    if isinstance(patch, int):
        patch = (config.get("patch_size_t") or 1, patch, patch)
    return math.prod(size // step for size, step in zip(shape[1:], patch, strict=True))


def _sampling_calls(meta: MetaModel, shape: tuple[int, int, int, int], settings: PlanSettings) -> int:
    """Two members, the steps from eta down, and two branches if there is guidance."""
    model = meta.model
    sigmas = model.sigmas(settings.sampling_steps or model.defaults.steps, shape)
    eta = model.process.nearest(torch.tensor([settings.eta], dtype=torch.float64)).item()
    guidance = model.defaults.guidance if settings.guidance is None else settings.guidance
    return 2 * (len(starting_at(sigmas, eta)) - 1) * (2 if guidance > 1 else 1)


def _step_flops(flops: ClipFlops, settings: PlanSettings) -> dict[str, int]:
    """An optimiser step: forward and backward of the policy on both members of all pairs of the batch, and one more
    forward for checkpointing, of the blocks, and for the reference."""
    policy = flops.policy_forward + flops.policy_backward
    if settings.checkpointing:
        policy += flops.policy_blocks
    clips = 2 * settings.batch
    return {"with reference table": clips * policy, "without reference table": clips * (policy + flops.forward)}


def _memory(meta: MetaModel, one_clip: Activations, adapter: int, settings: PlanSettings) -> dict[str, int]:
    """Bytes on one GPU, by part."""
    shares = settings.gpus if settings.sharding == "fsdp" else 1
    on_gpu = meta.denoisers if settings.offload == "none" else meta.denoisers[:1]
    waiting = settings.offload == "model"
    clips = 2 * min(settings.micro_batch, math.ceil(settings.batch / settings.gpus))
    parts = {
        "denoiser": _bytes(on_gpu) // shares,
        "text encoder": 0 if waiting else _bytes(meta.text_encoders),
        "autoencoder": 0 if waiting else _bytes([meta.vae]),
        "adapter": FLOAT32 * adapter // shares,
        "gradients": FLOAT32 * adapter // shares,
        "optimiser": 2 * FLOAT32 * adapter // shares,
        "activations": clips * one_clip.kept,
        "backward pass": 2 * clips * one_clip.largest,
    }
    if shares > 1:
        parts["gathered blocks"] = 2 * max(_bytes([block]) for block in _blocks(meta.model.denoiser))
    return parts


def _blocks(denoiser: torch.nn.Module) -> list[torch.nn.Module]:
    """The repeated blocks: what is in the denoiser's own lists of modules."""
    lists = [child for child in denoiser.children() if isinstance(child, torch.nn.ModuleList)]
    return [block for each in lists for block in each]


def _fits(parts: dict[str, int], card: int) -> bool:
    return sum(parts.values()) <= USABLE * card * GIB


def _hours(pair: int, step: dict[str, int], settings: PlanSettings) -> dict[str, float]:
    an_hour = settings.gpus * settings.gpu_tflops * 1e12 * settings.efficiency * 3600
    training = {f"training {how}": settings.steps * each / an_hour for how, each in step.items()}
    return {"pairs": settings.pairs * pair / an_hour} | training
