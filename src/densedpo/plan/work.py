"""How many operations a clip costs, and which activations training on it keeps: counted on the meta device.

A FLOP is a multiplication or an addition of the matrix products, convolutions and attention; the rest is a few percent
of the time and is not counted, as is usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx.experimental._config as meta_config
import torch.nn.functional as F
from peft import LoraConfig
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from densedpo.models.lora import ADAPTER
from densedpo.plan.families import META, LatentShape
from densedpo.plan.meta import MetaModel


@dataclass(frozen=True)
class ClipFlops:
    """FLOPs for one clip, once. `policy_*` are with the adapter on; `policy_blocks`: of the forward, inside blocks."""

    forward: int
    policy_forward: int
    policy_backward: int
    policy_blocks: int
    encode: int
    decode: int


@dataclass(frozen=True)
class Activations:
    """Bytes for one clip: what is kept from the forward to the backward pass, and the largest tensor among it."""

    kept: int
    largest: int


def add_meta_adapter(denoiser: Any, targets: Iterable[str], rank: int) -> int:
    """Put an adapter in float32, as training does, on a denoiser without weights; returns its number of parameters."""
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))
    with META:
        denoiser.add_adapter(config, adapter_name=ADAPTER)
    parameters = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    return sum(parameter.numel() for parameter in parameters)


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of whatever `run` does, by torch's counter; attention as the two matrix products that it is."""
    with captions_full(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


@contextmanager
def captions_full() -> Iterator[None]:
    """Where a network picks out the tokens of a caption that count, let all count: the meta device knows no values."""
    with meta_config.patch(meta_nonzero_assume_all_nonzero=True), _NothingLeftOut():  # type: ignore[attr-defined]
        yield


class _NothingLeftOut(TorchFunctionMode):
    """The other tokens, those of `~mask`, are none; and nothing is all zeros (HunyuanVideo 1.5 asks of its image)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__invert__ and args[0].is_meta and args[0].dtype == torch.bool:
            return torch.empty(0, dtype=torch.long, device=META)
        if func is torch.all and args[0].is_meta:
            return torch.tensor(False)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def base_flops(meta: MetaModel, shape: LatentShape, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """FLOPs of a forward without an adapter, of encoding and of decoding one clip."""
    forward = count_flops(lambda: meta.model.predict(*meta.inputs(shape)))
    return forward, count_flops(lambda: meta.encode(frames, height, width)), count_flops(lambda: meta.decode(shape))


def policy_flops(meta: MetaModel, shape: LatentShape) -> tuple[int, int, int]:
    """FLOPs of forward and backward with the adapter that the denoiser has, and of the forward inside blocks alone.

    The backward is what autograd runs: gradients of activations through all layers behind the first adapted one, and
    gradients of weights for the adapter alone. Checkpointing runs the forward of the blocks once more.
    """
    predictions: list[Tensor] = []
    in_blocks: list[int] = []

    def run_block(block: Callable[..., Any], *args: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = block(*args)
        in_blocks.append(int(counter.get_total_flops()))
        return result

    with _checkpointed(meta.model.denoiser, run_block):
        forward = count_flops(lambda: predictions.append(meta.model.predict(*meta.inputs(shape))))
    backward = count_flops(lambda: predictions[0].square().mean().backward())  # type: ignore[no-untyped-call]
    return forward, backward, sum(in_blocks)


class _Kept:
    """Sums the bytes of the tensors it is shown, each piece of memory once."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {each.untyped_storage()._cdata: each for each in known}  # held, so that no address comes twice
        self.bytes = self.largest = 0

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known[storage._cdata] = tensor
            self.bytes += storage.nbytes()
            self.largest = max(self.largest, storage.nbytes())
        return tensor

    def inside(self) -> _Kept:
        """A new sum that leaves out what this one has seen."""
        return _Kept(self._known.values())


class _EfficientAttention(TorchFunctionMode):
    """Attention as fused kernels do it: inputs, output and one number a row are kept, never the matrix of scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        causal, scale = options.get("is_causal", False), options.get("scale")
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output: Tensor = fused(query, key, value, 0.0, causal, attn_mask=attn_mask, scale=scale)[0]
        return output


def activations(meta: MetaModel, shape: LatentShape, *, checkpointing: bool) -> Activations:
    """What autograd keeps of one forward with the adapter, under fused attention.

    With checkpointing: the inputs of all blocks, what is outside of blocks, and, at the peak, one block's activations.
    """
    kept = _Kept(meta.model.denoiser.parameters())
    in_a_block: list[_Kept] = []

    def run_block(block: Callable[..., Any], *args: Any) -> Any:
        for each in args:
            if isinstance(each, Tensor):
                kept.add(each)
        in_a_block.append(kept.inside())
        with saved_tensors_hooks(in_a_block[-1].add, lambda tensor: tensor):
            return block(*args)

    with (
        captions_full(),
        _checkpointed(meta.model.denoiser, run_block if checkpointing else None),
        _EfficientAttention(),
        saved_tensors_hooks(kept.add, lambda tensor: tensor),
    ):
        meta.model.predict(*meta.inputs(shape))
    peak = max((block.bytes for block in in_a_block), default=0)
    return Activations(kept.bytes + peak, max([kept.largest, *(block.largest for block in in_a_block)]))


@contextmanager
def _checkpointed(denoiser: Any, run_block: Callable[..., Any] | None) -> Iterator[None]:
    if run_block is None:
        yield
        return
    denoiser.enable_gradient_checkpointing(run_block)
    try:
        yield
    finally:
        denoiser.disable_gradient_checkpointing()
