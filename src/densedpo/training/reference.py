"""The reference's errors on fixed draws, kept on disk: training then runs no reference forward.

An entry is what the reference gets wrong on one draw (noise level and noise) of one example: a number per member and
latent frame. A table belongs to one reference, one way of drawing and one way of computing; every run of a sweep that
agrees in these shares it. It fills as draws are first met, or ahead by `densedpo reference`.

Shapes: B slots, M members, N = M B videos (all a, then all b), F latent frames.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from densedpo.diffusion.protocol import VideoModel, served_sigmas
from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.models.lora import WEIGHTS, as_reference
from densedpo.store.database import refuse_network_file_system, use_write_ahead_log
from densedpo.store.project import Project
from densedpo.store.schema import content_id
from densedpo.training.data import Slot
from densedpo.training.errors import Inputs, frame_errors, residual
from densedpo.training.processes import Processes
from densedpo.training.settings import TrainSettings

SHAPING = (
    "seed", "timesteps", "timestep_mean", "timestep_std", "timestep_shift", "sigma_low", "sigma_high", "shared_noise",
    "similar_below", "autocast",
)  # fmt: skip
BOUND = 0.01  # how far recomputed entries may move the argument of the sigmoid


@torch.no_grad()
def reference_errors(model: VideoModel, inputs: Inputs, settings: TrainSettings) -> Tensor:
    """The reference's mean squared errors, `[N, F]`."""
    with as_reference(model.denoiser):
        return frame_errors(residual(model, inputs, settings))


class ReferenceTable:
    """Entries in an SQLite file of the project's cache, which several processes may read and fill at once."""

    def __init__(self, project: Project, model: VideoModel, settings: TrainSettings) -> None:
        """Raises UserError if the cache is on a network file system."""
        adapter = settings.reference_adapter
        shaping = [getattr(settings, name) for name in SHAPING]
        key = content_id(
            model.model_hash,
            None if adapter is None else file_digest(adapter / WEIGHTS),
            str(model.dtype),
            str(getattr(model, "attention", None)),
            str(served_sigmas(model)),
            shaping,
            settings.reference_draws if settings.stratified else None,
        )
        self.path = project.cache_folder("reference") / f"{key}.db"
        try:
            refuse_network_file_system(self.path.parent)
        except UserError as error:
            raise UserError(
                f"{self.path.parent} is on a network file system, where SQLite, which keeps the reference table, can "
                "lose data: leave --reference-draws out, or train from a project on a local disk"
            ) from error
        self.used = self.computed = 0
        with self._connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, errors BLOB) WITHOUT ROWID")

    def _connect(self) -> closing[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        return closing(connection)

    def read(self, slots: Sequence[Slot]) -> list[Tensor | None]:
        """The entries of these slots, each `[M, F]`, None where there is none yet."""
        keys = [_entry(slot) for slot in slots]
        marks = ",".join("?" * len(keys))
        with self._connect() as connection:
            found = dict(connection.execute(f"SELECT key, errors FROM entry WHERE key IN ({marks})", keys))
        return [_unpack(found[key], slot) if key in found else None for key, slot in zip(keys, slots, strict=True)]

    def write(self, slots: Sequence[Slot], errors_BMF: Tensor) -> None:
        """Add entries in one transaction; one that is there stays."""
        rows = [
            (_entry(slot), row.cpu().numpy().astype("<f4").tobytes())
            for slot, row in zip(slots, errors_BMF, strict=True)
        ]
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    def errors(
        self, model: VideoModel, slots: Sequence[Slot], inputs: Inputs, settings: TrainSettings, processes: Processes
    ) -> Tensor:
        """`[N, F]` for the slots of a batch; what the table lacks is computed and added.

        An entry that a batch needs twice is computed once, so that a run that finds it there sees the same bits.
        """
        known = {_entry(slot): entry for slot, entry in zip(slots, self.read(slots), strict=True) if entry is not None}
        missing = {_entry(slot): row for row, slot in reversed([*enumerate(slots)]) if _entry(slot) not in known}
        rows = sorted(missing.values())
        if processes.runs_along(bool(rows)):
            computed = self._compute(model, slots, rows or [0], inputs, settings)[: len(rows)]
            fresh = [slots[row] for row in rows]
            self.write(fresh, computed)
            known |= {_entry(slot): entry for slot, entry in zip(fresh, computed, strict=True)}
        self.used += len(slots)
        self.computed += len(rows)
        return torch.stack([known[_entry(slot)] for slot in slots]).transpose(0, 1).flatten(0, 1)

    def check(
        self,
        model: VideoModel,
        slots: Sequence[Slot],
        inputs: Inputs,
        k: float,
        settings: TrainSettings,
        processes: Processes,
    ) -> None:
        """Compute some entries again and compare.

        Args:
            k: what multiplies errors in the argument of the sigmoid.

        Raises:
            UserError: one would move that argument by more than `BOUND`.
        """
        entries = self.read(slots)
        present = [row for row, entry in enumerate(entries) if entry is not None]
        if not processes.runs_along(bool(present)):
            return
        again = self._compute(model, slots, present or [0], inputs, settings)[: len(present)]
        there = (entry for entry in entries if entry is not None)
        drift = max([(new - entry).abs().max().item() for new, entry in zip(again, there, strict=True)], default=0.0)
        if k * drift > BOUND:
            raise UserError(
                f"{self.path} no longer says what the reference says: an error computed again would move the argument "
                f"of the sigmoid by {k * drift:.2g} (at most {BOUND:g}); delete that file, it will be made anew"
            )

    @staticmethod
    def _compute(
        model: VideoModel, slots: Sequence[Slot], rows: list[int], inputs: Inputs, settings: TrainSettings
    ) -> Tensor:
        members = len(inputs.sigma_N) // len(slots)
        chosen = [member * len(slots) + row for member in range(members) for row in rows]
        errors_NF = reference_errors(model, inputs.take(chosen), settings)
        return errors_NF.view(members, len(rows), -1).transpose(0, 1).cpu()


def _entry(slot: Slot) -> str:
    return f"{'/'.join(map(str, slot.key))}/{slot.example.file.stem}"


def _unpack(blob: bytes, slot: Slot) -> Tensor:
    return torch.from_numpy(np.frombuffer(blob, "<f4").reshape(len(slot.example.members), -1).copy())
