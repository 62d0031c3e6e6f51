"""The denoiser's repeated blocks: compiled one by one, spread over processes, shared by them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import ContextParallelConfig
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from densedpo.errors import UserError


def repeated_blocks(denoiser: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks that do nearly all of the work, in model order: what the denoiser itself holds in lists."""
    lists = [child for child in denoiser.children() if isinstance(child, torch.nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


@contextmanager
def compiled(denoiser: torch.nn.Module) -> Iterator[None]:
    """Each block compiled by itself (regional compilation), for as long as the block of code lasts.

    Blocks are alike, so that one compilation serves all of them.
    """
    blocks = repeated_blocks(denoiser)
    for block in blocks:
        block.compile()
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None


def spread(denoiser: torch.nn.Module, device: torch.device, processes: int) -> tuple[int, int]:
    """Leave each process its part of the frozen weights (FSDP2); a block's are gathered while it computes.

    Adapters stay whole in every process: they are small, and so training and checkpoints need not know of this. From
    now on every forward and backward is common work of all processes. There is no way back but to end the process.

    Returns the bytes of frozen weights that this process holds, and that there are.

    Raises:
        UserError: the weights are quantised or offloaded, which FSDP2 is not made for.
    """
    if hasattr(denoiser, "_hf_hook") or any(hasattr(module, "_hf_hook") for module in denoiser.children()):
        raise UserError("--sharding full and --offload cannot be combined: leave one of them out")
    frozen = {name: p for name, p in denoiser.named_parameters() if "lora_" not in name}
    odd = [name for name, p in frozen.items() if type(p) is not torch.nn.Parameter or not p.is_floating_point()]
    if odd:
        raise UserError(f"--sharding full is for plain weights, which {odd[0]} is not: leave out --quantise")
    whole = sum(p.nbytes for p in frozen.values())
    adapters = {p for name, p in denoiser.named_parameters() if name not in frozen}
    mesh = init_device_mesh(device.type, (processes,))
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # nobody changes it in place
    for module in (*repeated_blocks(denoiser), denoiser):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=adapters)
    held = sum(p.to_local().nbytes for p in denoiser.parameters() if isinstance(p, DTensor))
    return held, whole


def share_videos(denoiser: Any, processes: int, *shapes: tuple[int, int, int, int]) -> None:
    """Let all processes work on each video, with a part of its tokens each (DeepSpeed Ulysses, arXiv 2309.14509).

    They meet in self-attention, where each has all tokens of a part of the heads. There is no way back.

    Args:
        shapes: `(C, F, H', W')` of all latents that there will be.

    Raises:
        UserError: diffusers has no plan for this architecture, or heads or tokens cannot be divided.
    """
    if getattr(denoiser, "_cp_plan", None) is None:
        raise UserError(f"diffusers has no plan for {type(denoiser).__name__}: leave --context-parallel out")
    config = denoiser.config
    patch = config.patch_size
    patch_FHW = (getattr(config, "patch_size_t", None) or 1, patch, patch) if isinstance(patch, int) else patch
    tokens = [
        math.prod(size // of_patch for size, of_patch in zip(shape[1:], patch_FHW, strict=True)) for shape in shapes
    ]
    for count, what in (
        (config.num_attention_heads, "attention heads"),
        *((each, "tokens a video") for each in tokens),
    ):
        if count % processes:
            raise UserError(f"--context-parallel divides {count} {what}, which {processes} processes cannot do evenly")
    denoiser.enable_parallelism(config=ContextParallelConfig(ulysses_degree=processes))
