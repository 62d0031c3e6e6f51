"""Checkpoints of a run: written to a temporary name, renamed, the newest few kept, a damaged newest one passed over."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside

STATE = "state.pt"


def folder_of(run: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` optimiser steps."""
    return run / "checkpoints" / f"step-{step:06d}"


def save(run: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write the state after `step` steps and drop all but the newest `keep` checkpoints up to it.

    Later ones are dropped as well: the run fell back behind them, since they are damaged.

    Raises:
        UserError: the disk is full; older checkpoints stay as they were.
    """
    target = folder_of(run, step) / STATE
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    with disk_full_is_clear(target):
        try:
            torch.save(state, temporary)
            put_in_place(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    found = _complete(run)
    kept = [folder for folder in found if folder <= target.parent][:keep]
    for folder in set(found) - set(kept):
        shutil.rmtree(folder)


def load_newest(run: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, its tensors on the CPU wherever they were saved; None if there is none."""
    for folder in _complete(run):
        try:
            with zipfile.ZipFile(folder / STATE) as archive:  # torch.load does not compare the checksums
                if archive.testzip():
                    raise zipfile.BadZipFile
        except Exception as error:  # whatever a damaged file makes the reader raise
            print(
                f"{folder / STATE} is damaged ({type(error).__name__}); going back to the one before", file=sys.stderr
            )
            continue
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        return state
    return None


def _complete(run: Path) -> list[Path]:
    """Checkpoint folders that hold a state, newest first."""
    return sorted((path.parent for path in (run / "checkpoints").glob(f"step-*/{STATE}")), reverse=True)
