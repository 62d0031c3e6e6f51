"""Which weights these are: a hash over the files that decide what a model draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from densedpo.files import file_digest


def weights_hash(folder: Path, parts: Sequence[str]) -> str:
    """32 hex digits over the names and contents of all files in these subfolders of a model folder."""
    whole = hashlib.sha256()
    for part in parts:
        for path in sorted(p for p in (folder / part).rglob("*") if p.is_file()):
            whole.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return whole.hexdigest()[:32]
