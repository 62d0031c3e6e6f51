"""Draw everything that the gates need, once, and measure it.

Shapes: P prompts, K clips of each, T frames, H height, W width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from densedpo.diffusion.protocol import VideoModel
from densedpo.files import write_text_atomic
from densedpo.gates import sheets
from densedpo.gates.arrays import verdicts
from densedpo.gates.finetune import finetuned
from densedpo.gates.rows import Measured, all_gates
from densedpo.gates.samples import (
    Guides,
    calibration_captions,
    draw_guides,
    generated,
    guided,
    real_scenes,
    reconstructed,
    rendered,
    second_scores,
)
from densedpo.gates.table import Gate
from densedpo.judges.oracle import OracleAnnotatorSettings
from densedpo.models.identity import versions
from densedpo.tinyworld import world


@dataclass(frozen=True)
class Size:
    """How many clips of each kind."""

    prompts: int  # captions of the tuning split
    clips: int  # generated ones of each caption, and as many real ones
    reconstructed: int  # of the real ones
    guides: int
    members: int  # guided clips from each guide
    finetune_steps: int
    finetuned_clips: int  # of each caption


FULL = Size(prompts=48, clips=8, reconstructed=8, guides=96, members=6, finetune_steps=100, finetuned_clips=4)
QUICK = Size(prompts=4, clips=4, reconstructed=2, guides=4, members=4, finetune_steps=5, finetuned_clips=2)


@dataclass(frozen=True)
class Report:
    """The gates, and what is reported beside them; `facts` say of what they were measured, and how long it took."""

    gates: list[Gate]
    facts: dict[str, object]

    @property
    def result(self) -> dict[str, object]:
        """For JSON."""
        held = [gate.held for gate in self.gates if gate.held is not None]
        return {"held": sum(held), "gates": len(held), **self.facts, "rows": [gate.row() for gate in self.gates]}


def measure_gates(model: VideoModel, size: Size, out: Path | None = None) -> Report:
    """Measure the model's gates, and write `gates.json` and sample sheets into the folder `out` if there is one.

    Raises:
        UserError: the model cannot take the world's frames or size; the disk is full.
    """
    began = time.monotonic()
    captions = calibration_captions(size.prompts)
    guides = draw_guides(model, size.guides)
    measured = _measure(model, captions, guides, size)
    facts: dict[str, object] = {
        "model_hash": model.model_hash,
        "vae_hash": model.vae_hash,
        "steps": model.defaults.steps,
        "guidance": model.defaults.guidance,
        "annotator": OracleAnnotatorSettings().model_dump(),
        "size": asdict(size),
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
    }
    report = Report(all_gates(measured), facts)
    if out is not None:
        sheets.write_sheets(measured, guides, out)
        write_text_atomic(out / "gates.json", json.dumps(report.result, indent=2, ensure_ascii=False) + "\n")
    return report


def _measure(model: VideoModel, captions: Sequence[str], guides: Guides, size: Size) -> Measured:
    scenes = real_scenes(captions, size.clips)
    coded = [row[: size.reconstructed] for row in scenes]
    real = rendered(scenes)
    again = reconstructed(model, [row[: size.reconstructed] for row in real])
    base, cpu_seconds = generated(model, captions, size.clips, "sampling")
    pairs = guided(model, guides, size.members)
    with finetuned(model, guides, size.finetune_steps):
        tuned, _ = generated(model, captions, size.finetuned_clips, "sampling after fine-tuning")
    psnr = [
        [box_psnr(scene, there.frames, back.frames) for scene, there, back in zip(*row, strict=True)]
        for row in zip(coded, [row[: size.reconstructed] for row in real], again, strict=True)
    ]
    return Measured(
        real=real,
        reconstructed=again,
        second_reconstructed=second_scores(again),
        psnr_PV=np.array(psnr),
        world_speed_PV=np.array([[scene.speeds.mean() for scene in row] for row in coded]),
        base=base,
        base_verdicts=verdicts(base, "independent"),
        guided=pairs,
        guided_verdicts=verdicts(pairs, "guided"),
        second=second_scores(base),
        tuned=tuned,
        cpu_seconds=cpu_seconds,
    )


def box_psnr(scene: world.Scene, real: NDArray[np.uint8], coded: NDArray[np.uint8]) -> float:
    """PSNR in dB of a clip `[T, H, W, 3]` inside the object's box, errors pooled over frames; at most 60.

    The box of a frame is the smallest rectangle that holds every pixel which the object touches.
    """
    touched_THW = world.coverage(scene, real.shape[1]) > 0
    errors = []
    for touched, there, back in zip(touched_THW, real, coded, strict=True):
        rows, columns = touched.any(axis=1).nonzero()[0], touched.any(axis=0).nonzero()[0]
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        errors.append((there[box].astype(np.float64) - back[box]).ravel() ** 2)
    return float(10 * np.log10(255**2 / max(np.concatenate(errors).mean(), 255**2 / 1e6)))
