"""Model folders that differ from the random one in one respect, without copying its weights."""

import json
from pathlib import Path
from typing import Any


def variant(base: Path, folder: Path, file: str, **changes: Any) -> Path:
    """A model folder like `base`, with `changes` to one of its JSON files."""
    folder.mkdir()
    part = Path(file).parts[0]
    for entry in base.iterdir():
        if entry.name != part:
            (folder / entry.name).symlink_to(entry)
    if part != file:
        (folder / part).mkdir()
        for entry in (base / part).iterdir():
            if entry.name != Path(file).name:
                (folder / part / entry.name).symlink_to(entry)
    there = json.loads((base / file).read_text())
    (folder / file).write_text(json.dumps(there | changes))
    return folder
