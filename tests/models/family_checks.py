"""What the tests of several model families need: a measure of error, an adapter, what the denoiser is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.models import lora


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@contextmanager
def trained_adapter(model: Any) -> Iterator[None]:
    """An adapter with random weights on the model's default layers, as if it had been trained hard."""
    with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 2.0, seed=0) as parameters:
        for i, parameter in enumerate(parameters):
            parameter.data = 0.2 * noise(tuple(parameter.shape), "perturbed", i)
        yield


@contextmanager
def told(model: Any) -> Iterator[dict[str, Any]]:
    """Collects what the denoiser is given by name."""
    given: dict[str, Any] = {}
    hook = model.denoiser.register_forward_pre_hook(lambda _, __, named: given.update(named), with_kwargs=True)
    try:
        yield given
    finally:
        hook.remove()
