"""Find the family of a checkpoint and load it."""

from __future__ import annotations

import importlib
import json
import pkgutil
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import torch

import densedpo.models
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError

TINYWORLD = "tinyworld"


def model_folder(name_or_path: str) -> Path:
    """The folder of a model given as `tinyworld`, a local folder, or a hub id (downloaded into the usual cache).

    Raises:
        UserError: there is no such folder or hub repository.
    """
    if name_or_path == TINYWORLD:
        return Path(str(files("densedpo.tinyworld") / "model"))
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    if name_or_path.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise UserError(
            f"model {name_or_path!r} is not a folder: give a diffusers folder, a hub id (owner/name), or {TINYWORLD!r}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name_or_path, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model {name_or_path!r} could not be fetched from the hub ({type(error).__name__}): "
            "check the name, your network and, for a gated model, `hf auth login`"
        ) from error


def families() -> dict[str, ModuleType]:
    """Pipeline class name → the module of this package that loads it (every module that names `PIPELINES`)."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(densedpo.models.__path__):
        module = importlib.import_module(f"densedpo.models.{info.name}")
        found |= dict.fromkeys(getattr(module, "PIPELINES", ()), module)
    return found


def load_model(name_or_path: str, *, device: str | None = None, dtype: torch.dtype | None = None) -> VideoModel:
    """Load a text-to-video model: `tinyworld`, a diffusers folder, or a hub id.

    Args:
        device: `cuda` when there is one, else `cpu`.
        dtype: of denoiser and text encoder; bfloat16 on a GPU, float32 on the CPU. The autoencoder stays in float32.

    Raises:
        UserError: no such model, files of it are missing, or a pipeline class that no family here covers.
    """
    folder = model_folder(name_or_path)
    index = folder / "model_index.json"
    if not index.exists():
        raise UserError(f"{folder} holds no model_index.json: give the folder of a whole diffusers pipeline")
    pipeline = json.loads(index.read_text())["_class_name"]
    known = families()
    if pipeline not in known:
        raise UserError(
            f"{folder} is a {pipeline}, which densedpo cannot train yet: it knows {', '.join(sorted(known))}"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    try:
        model: VideoModel = known[pipeline].load(folder, device=torch.device(device), dtype=dtype)
    except OSError as error:
        raise UserError(f"{folder} is not a whole {pipeline}: {error}; download or copy it again") from error
    return model
