"""What is installed here, what is missing, and exactly how to get it."""

import importlib.metadata
import importlib.resources
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CORE, TRAIN, POSTGRES = "pip install densedpo", "pip install 'densedpo[train]'", "pip install 'densedpo[postgres]'"

# package on the index, what for, how to get it
PACKAGES = (
    ("av", "reading and writing video", CORE),
    ("sqlalchemy", "the project's database", CORE),
    ("torch", "training and sampling", TRAIN),
    ("diffusers", "the video models", TRAIN),
    ("transformers", "the text encoders", TRAIN),
    ("peft", "LoRA adapters", TRAIN),
    ("accelerate", "loading large models", TRAIN),
    ("psycopg", "a PostgreSQL database (optional)", POSTGRES),
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One line of the table. `found` is a version or a fact, None if missing; `remedy` then says how to get it."""

    name: str
    purpose: str
    found: str | None
    remedy: str = ""


def examine(folder: Path) -> list[Check]:
    """Everything that a run depends on; `folder` is where the disk's free space is looked up."""
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [
        Check("python", "runs everything", python),
        *(Check(name, purpose, _version(name), remedy) for name, purpose, remedy in PACKAGES),
        _torch_device(),
        _tiny_model(),
        _browser(),
        _disk(folder),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_device() -> Check:
    name, purpose = "torch device", "where models run"
    try:
        import torch
    except ImportError as error:
        remedy = TRAIN if isinstance(error, ModuleNotFoundError) else f"reinstall torch: {error}"
        return Check(name, purpose, None, remedy)
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return Check(name, purpose, f"{count} x {torch.cuda.get_device_name()} (CUDA {torch.version.cuda})")
    return Check(name, purpose, f"CPU, {torch.get_num_threads()} threads")


def _tiny_model() -> Check:
    index = importlib.resources.files("densedpo.tinyworld") / "model" / "model_index.json"
    found = "shipped with the package" if index.is_file() else None
    return Check("tinyworld model", "the demo and the tests", found, "reinstall densedpo: its package data is missing")


def _browser() -> Check:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    version = path and subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    remedy = "install the system package chromium (Debian: sudo apt-get install chromium)"
    return Check("browser", "this project's own browser tests (optional)", version or path, remedy)


def _disk(folder: Path) -> Check:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return Check("free disk", f"at {existing}", f"{shutil.disk_usage(existing).free / 1e9:.1f} GB")
