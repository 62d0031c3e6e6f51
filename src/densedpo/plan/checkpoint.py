"""A checkpoint's config files, without its weights: from a folder, the hub, or the shipped list of published models."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from densedpo.errors import UserError
from densedpo.models.load import TINYWORLD, is_hub_id, model_folder
from densedpo.models.pipelines import SIDE_FILE

CONFIG_NAMES = {"scheduler": "scheduler_config.json", "guider": "guider_config.json"}  # of other parts: config.json
CONFIG_FILES = (
    "model_index.json",
    SIDE_FILE,
    "*/config.json",
    *(f"{part}/{name}" for part, name in CONFIG_NAMES.items()),
)


@functools.cache
def published() -> dict[str, Any]:
    """The shipped list: `models` by name, each made of `parts`, each part with its class, config and source."""
    text = files("densedpo.plan").joinpath("published.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@contextmanager
def config_folder(name_or_path: str) -> Iterator[Path]:
    """A temporary folder in diffusers' layout that holds the config files of a checkpoint and no weights.

    Args:
        name_or_path: a published model's short name, `tinyworld`, a diffusers folder, or a hub id.

    Raises:
        UserError: there is no such checkpoint, or the hub cannot be reached.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if name_or_path in published()["models"]:
            _write_published(name_or_path, folder)
        else:
            _copy_configs(_source(name_or_path), folder)
        yield folder


def _source(name_or_path: str) -> Path:
    if name_or_path != TINYWORLD and not Path(name_or_path).is_dir() and not is_hub_id(name_or_path):
        raise UserError(
            f"model {name_or_path!r} is neither a folder nor known: give a diffusers folder, a hub id (owner/name), or "
            f"one of {', '.join([TINYWORLD, *published()['models']])}"
        )
    return model_folder(name_or_path, hub_files=CONFIG_FILES)


def _copy_configs(source: Path, folder: Path) -> None:
    if not (source / "model_index.json").exists():
        raise UserError(f"{source} holds no model_index.json: give the folder of a whole diffusers pipeline")
    for path in (found for pattern in CONFIG_FILES for found in source.glob(pattern)):
        target = folder / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)


def _write_published(name: str, folder: Path) -> None:
    model, parts = published()["models"][name], published()["parts"]
    index = {"_class_name": model["pipeline"]} | model.get("settings", {})
    for part, key in model["parts"].items():
        index[part] = parts[key]["class"]
        (folder / part).mkdir()
        (folder / part / CONFIG_NAMES.get(part, "config.json")).write_text(json.dumps(parts[key]["config"]))
    (folder / "model_index.json").write_text(json.dumps(index))
