"""Load any diffusers pipeline the way this house wants it: safetensors only, local, quiet, placed as asked."""

from __future__ import annotations

import importlib.metadata
import json
import os
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry, attention_backend
from packaging.version import Version

from densedpo.diffusion.protocol import SamplingDefaults
from densedpo.errors import UserError
from densedpo.models.settings import Expert, LoadSettings, Offload, Quantise

P = TypeVar("P", bound=DiffusionPipeline)

SIDE_FILE = "densedpo.json"  # a model folder's own sampling defaults, where they differ from the official ones
DENOISERS = ("transformer", "transformer_2")  # parts that quantisation and the attention backend are about
QUANTISERS = {"torchao": "0.15.0", "bitsandbytes": "0.43.3"}  # packages, and the first versions that diffusers takes
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class LoadOptions:
    """`LoadSettings` as torch has them. The autoencoder stays in float32."""

    device: torch.device
    dtype: torch.dtype
    offload: Offload = "none"
    quantise: Quantise = "none"
    attention: str | None = None
    tiled_vae: bool = False
    expert: Expert = "low"

    @classmethod
    def of(cls, settings: LoadSettings) -> LoadOptions:
        """Fill in what depends on the machine.

        Raises:
            UserError: there is no such device, or offloading without a GPU.
        """
        own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # of several processes, each has its own
        name = settings.device or (own if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
            raise UserError(f"there is no device {name!r} here: leave out --device, or give cpu or cuda") from error
        if settings.offload != "none" and device.type == "cpu":
            raise UserError(f"--offload {settings.offload} is for a model on a GPU, which {name} is not: leave it out")
        if settings.dtype == "auto":
            dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        else:
            dtype = getattr(torch, settings.dtype)
        how = settings.model_dump(include={"offload", "quantise", "attention", "tiled_vae", "expert"})
        return cls(device, dtype, **how)


def load_pipeline(kind: type[P], folder: Path, options: LoadOptions, **parts: None) -> P:
    """The pipeline in `folder`, placed as asked, without gradients; parts given as None are left out.

    Raises:
        OSError: files are missing.
        UserError: only pickled weights are there; what `options` ask for is not installed or does not fit.
    """
    refuse_pickles(folder)
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()  # bars of a second's work, between the lines of our own
    more = {} if options.quantise == "none" else {"quantization_config": quantisation(folder, options)}
    pipeline: P = kind.from_pretrained(
        folder,
        dtype={"default": options.dtype, "vae": torch.float32},
        use_safetensors=True,
        local_files_only=True,
        **more,
        **parts,
    )
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False).eval()
    if options.attention is not None:
        set_attention(pipeline, options.attention)
    if options.tiled_vae:
        pipeline.vae.enable_tiling()
    place(pipeline, options)
    return pipeline


def place(pipeline: DiffusionPipeline, options: LoadOptions) -> None:
    """Move the pipeline to its device, or let diffusers move parts of it there when they are called."""
    if options.offload == "none":
        pipeline.to(options.device)
    elif options.offload == "model":
        pipeline.enable_model_cpu_offload(device=options.device)
    else:
        pipeline.enable_sequential_cpu_offload(device=options.device)


def quantisation(folder: Path, options: LoadOptions) -> diffusers.PipelineQuantizationConfig:
    """diffusers' configuration that quantises the denoisers of this folder while they are loaded.

    Raises:
        UserError: the package that does it is missing or too old, or there is no GPU for bitsandbytes.
    """
    package = "torchao" if options.quantise == "torchao-int8" else "bitsandbytes"
    if find_spec(package) is None:
        raise UserError(f"--quantise {options.quantise} needs {package}: pip install {package}")
    if package == "bitsandbytes" and options.device.type == "cpu":
        raise UserError(f"--quantise {options.quantise} runs on a GPU only: use torchao-int8 or none on the CPU")
    there, least = importlib.metadata.version(package), QUANTISERS[package]
    if Version(there) < Version(least):
        raise UserError(
            f"--quantise {options.quantise} needs {package} {least} or later, but {there} is here: "
            f"pip install --upgrade {package}"
        )
    if package == "torchao":
        config: object = diffusers.TorchAoConfig(import_module("torchao.quantization").Int8WeightOnlyConfig())
    else:
        four, eight = options.quantise == "nf4", options.quantise == "int8"
        config = diffusers.BitsAndBytesConfig(
            load_in_4bit=four, load_in_8bit=eight, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=options.dtype
        )
    index = json.loads((folder / "model_index.json").read_text())
    denoisers = [name for name in DENOISERS if index.get(name, [None])[0] is not None]
    return diffusers.PipelineQuantizationConfig(quant_mapping=dict.fromkeys(denoisers, config))


def set_attention(pipeline: DiffusionPipeline, backend: str) -> None:
    """Let the denoisers compute attention with a backend of diffusers' (`AttentionBackendName`).

    Raises:
        UserError: no such backend, or its package is not installed.
    """
    parts = [getattr(pipeline, name, None) for name in DENOISERS]
    shared = _AttentionBackendRegistry.get_active_backend()[0]
    for denoiser in filter(None, parts):
        try:
            with attention_backend(shared):  # diffusers would also change it for every other model of this process
                denoiser.set_attention_backend(backend)
        except (ValueError, RuntimeError, ImportError) as error:
            raise UserError(f"--attention {backend} cannot be used here: {error}") from error


def refuse_pickles(folder: Path) -> None:
    """Opening a pickle runs whatever code is in it, so a part of a model that has no other weights is refused.

    Raises:
        UserError: naming the first such part.
    """
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        pickles = sorted(path.name for pattern in PICKLES for path in part.glob(pattern))
        if pickles and not any(part.glob("*.safetensors")):
            raise UserError(
                f"{part} holds pickled weights only ({pickles[0]}), and opening those can run any code: use a "
                "checkpoint with safetensors, or convert this one (https://huggingface.co/spaces/safetensors/convert)"
            )


def side_defaults(folder: Path) -> dict[str, Any]:
    """What the folder's `densedpo.json` says; nothing if there is none."""
    path = folder / SIDE_FILE
    return read_json(path) if path.exists() else {}


def sampling_defaults(values: dict[str, Any], folder: Path) -> SamplingDefaults:
    """The defaults of a family with what the folder's own file changes in them.

    Raises:
        UserError: the file names something that this family does not have.
    """
    extra = values.keys() - {field.name for field in fields(SamplingDefaults)}
    if extra:
        raise UserError(
            f"{folder / SIDE_FILE} sets {', '.join(sorted(extra))}, which this model does not have: remove it"
        )
    return SamplingDefaults(**values)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): mend it, or copy it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object: mend it, or copy it again")
    return found
