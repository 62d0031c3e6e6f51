"""What made a result: which weights, by a hash over the files that decide what a model draws, and which packages."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import densedpo
from densedpo.files import file_digest

HUB_VARIANTS = ["*.fp16*", "*.bf16*"]  # second copies of the same weights, which are neither fetched nor loaded
PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy")


def weights_hash(folder: Path, parts: Sequence[str]) -> str:
    """32 hex digits over the names and contents of all files in these subfolders of a model folder.

    Left out are what a file manager may leave there (hidden files) and second copies of weights, which others who share
    a cache may have fetched.
    """
    whole = hashlib.sha256()
    for part in parts:
        for path in sorted(p for p in (folder / part).rglob("*") if p.is_file() and _counts(p.name)):
            whole.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return whole.hexdigest()[:32]


def _counts(name: str) -> bool:
    return not name.startswith(".") and not any(fnmatch(name, variant) for variant in HUB_VARIANTS)


def versions() -> dict[str, str]:
    """Versions of everything that shapes a result."""
    return {"densedpo": densedpo.__version__, "python": platform.python_version()} | {p: version(p) for p in PACKAGES}
