"""LoRA adapters on a denoiser, through PEFT and diffusers (arXiv 2106.09685).

alpha = rank by default, so that the update is B A, not a sixteenth of it (PEFT's own default, alpha 8, at rank 128).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place

ADAPTER = "densedpo"
REFERENCE = "reference"
WEIGHTS = "pytorch_lora_weights.safetensors"  # the name `pipe.load_lora_weights(folder)` looks for
PREFIX = (
    "transformer."  # of the second expert's adapter too: `pipe.load_lora_weights(..., load_into_transformer_2=True)`
)
_OTHER = "the adapter in {} was made for another model: load it with the base model it names"
EXPERT = "densedpo_expert"  # in the header: which of two experts the adapter is for


def linear_layers(denoiser: torch.nn.Module, *prefixes: str) -> tuple[str, ...]:
    """Names of all linear layers below the given modules (`blocks.`, `transformer_blocks.`, ...), in model order."""
    return tuple(
        name
        for name, layer in denoiser.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.startswith(prefixes)
    )


def add_adapter(
    denoiser: torch.nn.Module, targets: Sequence[str], rank: int, alpha: float, seed: int
) -> list[torch.nn.Parameter]:
    """Put a fresh adapter on the layers named `targets` and return its parameters.

    A starts random (a function of `seed`), B at zero: the adapted model equals the base until the first step.

    Raises:
        UserError: the denoiser's weights are offloaded layer by layer, where an adapter cannot be trained.
    """
    if any(parameter.is_meta for parameter in denoiser.parameters()):
        raise UserError("a model under --offload sequential cannot be trained: use --offload model or none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(  # type: ignore[operator]
            LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights=True),
            adapter_name=ADAPTER,
        )
    hook = getattr(denoiser, "_hf_hook", None)
    if hook is not None:  # offloaded: the optimiser's state must be made where the forward puts the weights
        denoiser.to(hook.execution_device)
    parameters = [p for p in denoiser.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    return parameters


@contextmanager
def fresh_adapter(
    denoiser: torch.nn.Module, targets: Sequence[str], rank: int, alpha: float, seed: int
) -> Iterator[list[torch.nn.Parameter]]:
    """A new adapter, as `add_adapter` makes it, for as long as the block lasts; before and after it there is none."""
    try:
        yield add_adapter(denoiser, targets, rank, alpha, seed)
    finally:
        denoiser.unload_lora()  # type: ignore[operator]


def start_from(denoiser: torch.nn.Module, folder: Path) -> None:
    """Give the adapter that `add_adapter` made the weights of the one in `folder`.

    Raises:
        UserError: as `load_adapter`; or it is of another rank, alpha or set of layers.
    """
    _check_fits(denoiser, folder)
    given = _weights_in(folder)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        config = json.loads((file.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY, "{}"))
    mine: Any = denoiser.peft_config[ADAPTER]  # type: ignore[index]
    rank, alpha = config.get(PREFIX + "r", mine.r), config.get(PREFIX + "lora_alpha", mine.lora_alpha)
    if (rank, alpha) != (mine.r, mine.lora_alpha):
        raise UserError(
            f"the adapter in {folder} has rank {rank} and alpha {alpha:g}: train with --rank {rank} --alpha {alpha:g}"
        )
    if given.keys() != adapter_state(denoiser).keys():
        raise UserError(f"the adapter in {folder} is on other layers than the one to be trained")
    restore_adapter_state(denoiser, given)


def load_reference(denoiser: torch.nn.Module, folder: Path) -> None:
    """Load a second, frozen adapter beside the trained one: the reference is the base with it (see `as_reference`).

    Raises:
        UserError: as `load_adapter`.
    """
    _check_fits(denoiser, folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # two adapters are meant
        _load(denoiser, folder, REFERENCE)
    for name, parameter in denoiser.named_parameters():
        if f".{REFERENCE}." in name:
            parameter.data = parameter.data.float()  # as the trained one; what was loaded is rounded to the base's type
    set_peft_model_state_dict(denoiser, _weights_in(folder), adapter_name=REFERENCE)
    denoiser.set_adapter(ADAPTER)  # type: ignore[operator]


@contextmanager
def adapter_off(denoiser: torch.nn.Module) -> Iterator[None]:
    """The base model, for as long as the block lasts: how the reference is computed without a second copy."""
    denoiser.disable_adapters()  # type: ignore[operator]
    try:
        yield
    finally:
        denoiser.enable_adapters()  # type: ignore[operator]


@contextmanager
def as_reference(denoiser: torch.nn.Module) -> Iterator[None]:
    """The reference, for as long as the block lasts: the base, or the base with the adapter of `load_reference`."""
    if REFERENCE not in denoiser.peft_config:  # type: ignore[operator]
        with adapter_off(denoiser):
            yield
        return
    denoiser.set_adapter(REFERENCE)  # type: ignore[operator]
    try:
        yield
    finally:
        denoiser.set_adapter(ADAPTER)  # type: ignore[operator]


def adapter_state(denoiser: torch.nn.Module) -> dict[str, Tensor]:
    """The adapter's weights by PEFT's names, as contiguous CPU tensors."""
    state = get_peft_model_state_dict(denoiser, adapter_name=ADAPTER)
    return {k: v.detach().to("cpu").contiguous() for k, v in state.items()}


def restore_adapter_state(denoiser: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `adapter_state` returned."""
    set_peft_model_state_dict(denoiser, state, adapter_name=ADAPTER)


def save_adapter(denoiser: torch.nn.Module, folder: Path, metadata: dict[str, str]) -> Path:
    """Write the adapter, rank and alpha included, as diffusers' `pipe.load_lora_weights(folder)` reads it.

    Returns the file. `metadata` (base model, method, beta, ...) goes into the safetensors header as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {PREFIX + k: v for k, v in adapter_state(denoiser).items()}
    values: dict[str, Any] = denoiser.peft_config[ADAPTER].to_dict()  # type: ignore[index, union-attr]
    config = {PREFIX + k: sorted(v) if isinstance(v, set) else v for k, v in values.items()}
    header = {"format": "pt", LORA_ADAPTER_METADATA_KEY: json.dumps(config, indent=2, sort_keys=True)} | metadata
    if hasattr(denoiser, "expert"):
        header[EXPERT] = str(denoiser.expert)
    target, temporary = folder / WEIGHTS, folder / (WEIGHTS + ".tmp")
    with disk_full_is_clear(target):
        save_file(tensors, temporary, metadata=header)
        put_in_place(temporary, target)
    return target


def load_adapter(denoiser: torch.nn.Module, folder: Path) -> None:
    """Load an adapter that `save_adapter` wrote onto a denoiser that has none.

    Raises:
        UserError: the folder holds no adapter, a damaged one, or one for another architecture or expert.
    """
    _check_fits(denoiser, folder)
    try:
        _load(denoiser, folder, ADAPTER)
    except UserError:
        denoiser.unload_lora()  # type: ignore[operator]
        raise
    denoiser.requires_grad_(False)


def _check_fits(denoiser: torch.nn.Module, folder: Path) -> None:
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{folder} holds no adapter ({WEIGHTS}): give the `adapter` folder of a training run")
    layers, expert = _layers_in(folder / WEIGHTS)
    if not layers <= {PREFIX + name.replace(".base_layer", "") for name, _ in denoiser.named_modules()}:
        raise UserError(_OTHER.format(folder))  # diffusers would load what fits, be it nothing, and only log the rest
    if expert and expert != getattr(denoiser, "expert", expert):
        raise UserError(
            f"the adapter in {folder} is for the {expert}-noise expert: load the model with --expert {expert}"
        )


def _load(denoiser: torch.nn.Module, folder: Path, name: str) -> None:
    try:
        denoiser.load_lora_adapter(  # type: ignore[operator]
            str(folder), prefix=PREFIX.rstrip("."), adapter_name=name, weight_name=WEIGHTS, local_files_only=True
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(_OTHER.format(folder)) from error


def _weights_in(folder: Path) -> dict[str, Tensor]:
    """The weights of an adapter by PEFT's names."""
    return {key.removeprefix(PREFIX): value for key, value in load_file(folder / WEIGHTS).items()}


def _layers_in(path: Path) -> tuple[set[str], str | None]:
    """The layers that the weights in a file adapt, by their names in the file, and the expert it is for, if any."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name.split(".lora_")[0] for name in sorted(file.keys())}, (file.metadata() or {}).get(EXPERT)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): train again, or copy the file again") from error


@contextmanager
def adapter_on(denoiser: torch.nn.Module, folder: Path) -> Iterator[None]:
    """The model with the adapter in `folder`, for as long as the block lasts; before and after it has none.

    Raises:
        UserError: as `load_adapter`.
    """
    load_adapter(denoiser, folder)
    try:
        yield
    finally:
        denoiser.unload_lora()  # type: ignore[operator]
