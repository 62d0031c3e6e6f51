"""Find the family of a checkpoint and load it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import densedpo.models
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.models.identity import HUB_VARIANTS
from densedpo.models.pipelines import LoadOptions, read_json
from densedpo.models.settings import LoadSettings
from densedpo.store.schema import content_id

TINYWORLD = "tinyworld"
# The parts of a pipeline: no pickles, and not the single files of whole models that some repositories keep at the top.
HUB_FILES = ["model_index.json", "densedpo.json", "*/*.json", "*/*.safetensors", "*/*.model", "*/*.txt", "*/*.jinja"]
# What changes a model's output without being in its weights' files.
TOLD = ("max_sequence_length", "told_fps")
TOLD_TO_DECODER = ("decode_timestep", "decode_noise_scale")


def is_hub_id(name_or_path: str) -> bool:
    """Whether a name that is no folder here has the form of a hub id (owner/name)."""
    return name_or_path.count("/") == 1 and not name_or_path.startswith((".", "/", "~"))


def model_folder(name_or_path: str, revision: str | None = None, hub_files: Sequence[str] = HUB_FILES) -> Path:
    """The folder of a model given as `tinyworld`, a local folder, or a hub id (downloaded into the usual cache).

    `hub_files` are patterns of the files that are wanted of a hub model.

    Raises:
        UserError: there is no such folder, hub repository or revision, or it cannot be fetched.
    """
    if name_or_path == TINYWORLD:
        return Path(str(files("densedpo.tinyworld") / "model"))
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    if not is_hub_id(name_or_path):
        raise UserError(
            f"model {name_or_path!r} is not a folder: give a diffusers folder, a hub id (owner/name), or {TINYWORLD!r}"
        )
    return _fetched(name_or_path, revision, hub_files)


def _fetched(hub_id: str, revision: str | None, hub_files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=list(hub_files), ignore_patterns=HUB_VARIANTS)
        )
    except GatedRepoError as error:
        raise UserError(
            f"model {hub_id!r} is gated: accept its terms on https://huggingface.co/{hub_id}, then `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"model {hub_id!r} has no revision {revision!r}: give a branch, tag or commit of it") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"there is no model {hub_id!r} on the hub that you may see: check the name, or `hf auth login` if private"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model {hub_id!r} could not be fetched from the hub ({type(error).__name__}): "
            "check the name, your network and, for a gated model, `hf auth login`"
        ) from error


def families() -> dict[str, ModuleType]:
    """Pipeline class name → the module of this package that loads it (every module that names `PIPELINES`)."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(densedpo.models.__path__):
        module = importlib.import_module(f"densedpo.models.{info.name}")
        found |= dict.fromkeys(getattr(module, "PIPELINES", ()), module)
    return found


@dataclass(frozen=True)
class Family:
    """What a family's module says of itself; empty where it says nothing."""

    name: str
    pipelines: tuple[str, ...]
    sizes: tuple[str, ...]  # published checkpoints
    frame_rule: str
    size_rule: str
    proven: str  # what was run here, and on what


def described_families() -> list[Family]:
    """All families by name, from the constants `SIZES`, `FRAME_RULE`, `SIZE_RULE` and `PROVEN` of their modules."""
    modules = {module.__name__.rpartition(".")[2]: module for module in families().values()}
    return [
        Family(
            name,
            tuple(module.PIPELINES),
            tuple(getattr(module, "SIZES", ())),
            *(getattr(module, constant, "") for constant in ("FRAME_RULE", "SIZE_RULE", "PROVEN")),
        )
        for name, module in sorted(modules.items())
    ]


def load_model(
    name_or_path: str,
    settings: LoadSettings | None = None,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> VideoModel:
    """Load a text-to-video model: `tinyworld`, a diffusers folder, or a hub id.

    Args:
        settings: how; as it is published, on the GPU if there is one, if not given.
        device, dtype: the settings' own in torch's terms; they win.

    Raises:
        UserError: no such model, files of it are missing, a pipeline class that no family here covers, only pickled
            weights, too little memory, or a setting that this machine cannot satisfy.
    """
    changes = {"device": device, "dtype": str(dtype).removeprefix("torch.") if dtype else None}
    given = {key: value for key, value in changes.items() if value is not None}
    settings = LoadSettings(**(settings or LoadSettings()).model_dump() | given)
    folder = model_folder(name_or_path, settings.revision)
    index = _index(folder)
    pipeline = index["_class_name"]
    known = families()
    if pipeline not in known:
        raise UserError(
            f"{folder} is a {pipeline}, which densedpo cannot train yet: it knows {', '.join(sorted(known))}"
        )
    options = LoadOptions.of(settings)
    try:
        with memory_is_clear(f"loading {name_or_path}"):
            model: VideoModel = known[pipeline].load(folder, options)
    except OSError as error:
        raise UserError(
            f"{folder} is not a whole {pipeline}: {error}; download or copy it again, with weights as safetensors"
        ) from error
    model.name = folder.name if Path(name_or_path).is_dir() else name_or_path
    flags = {key: value for key, value in index.items() if not key.startswith("_") and not isinstance(value, list)}
    told, told_to_decoder = ([getattr(model, name, None) for name in names] for names in (TOLD, TOLD_TO_DECODER))
    model.model_hash = content_id(model.model_hash, flags, told, options.quantise)
    model.vae_hash = content_id(model.vae_hash, told_to_decoder, options.tiled_vae)
    return model


def _index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.exists():
        raise UserError(f"{folder} holds no model_index.json: give the folder of a whole diffusers pipeline")
    index = read_json(path)
    if "_class_name" not in index:
        raise UserError(f"{path} names no pipeline class (_class_name): it is not one that diffusers wrote")
    return index
