"""One clip of an evaluation made again, from what its folder says: the same batch, the same noise, the same pixels."""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.chunks import chunks
from densedpo.config import load_settings
from densedpo.errors import UserError
from densedpo.evaluation.making import Makers, find_makers
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.evaluation.shots import BASE, Shot
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project
from densedpo.video.io import read_video, write_video

CLIP = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)/(\d+)-(\d+)(?:\.mp4)?")


@dataclass(frozen=True)
class Remade:
    """The new file, the clip of the evaluation that it repeats, and how far both differ.

    `largest` is the largest difference of a pixel's colour, of 255; None if the evaluation's clip is not there.
    """

    path: Path
    clip: Path
    largest: int | None


def remake(project: Project, evaluation: str, clip: str, out: Path) -> Remade:
    """Make the clip `CONTESTANT/PPPP-S` of a scored evaluation again, into the file `out`.

    All clips of its batch are computed, because another batch size rounds differently. Raises UserError for a clip that
    this evaluation does not have, or that was brought as a finished file, and for a model or an adapter that has
    changed since.
    """
    folder = project.root / "runs" / evaluation
    contestant, shot, shots = _find(folder, clip)
    settings = load_settings(EvaluateSettings, folder / "settings.yaml", {})
    facts = json.loads((folder / "run.json").read_text("utf-8"))
    if contestant in {text.partition("=")[0] for text in settings.videos or ()}:
        raise UserError(f"{clip} was brought as a finished file, so no model here can make it again; ask who made it")
    runs = () if contestant == BASE else (contestant,)
    loading = LoadSettings(**facts.get("loading", {}))
    said = settings.model_fields_set
    makers, settings = find_makers(project, settings.model_copy(update={"runs": runs}), loading=loading)
    _check_unchanged(makers, facts, contestant, evaluation)
    studio = makers.studio
    defaults = studio.model.defaults
    # Earlier versions filled in the guidance, but did not say that the second expert had its own as well.
    if "guidance_2" not in said and settings.guidance == defaults.guidance:
        studio = dataclasses.replace(studio, guidance_2=defaults.guidance_2)
    batch = next(batch for batch in chunks(shots, settings.batch) if shot in batch)
    denoiser = studio.model.denoiser
    with makers.adapters[contestant].on(denoiser) if runs else nullcontext():
        frames = studio.videos(batch)[batch.index(shot)]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, frames, studio.size.fps)
    before = folder / "clips" / contestant / f"{shot.stem}.mp4"
    largest = int(np.abs(read_video(before)[0].astype(np.int16) - frames).max()) if before.exists() else None
    return Remade(out, before, largest)


def _find(folder: Path, clip: str) -> tuple[str, Shot, list[Shot]]:
    """The contestant, the shot, and all its shots in the order in which batches were cut."""
    asked = CLIP.fullmatch(clip)
    if asked is None:
        raise UserError(f"{clip} names no clip; give it as under runs/NAME/clips, for example dense/0003-1")
    if not (folder / "scores.jsonl").exists():
        raise UserError(f"{folder} holds no scored evaluation; see `densedpo evaluate`, and give --evaluation its name")
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "scores.jsonl").read_text("utf-8").splitlines()
    ]
    shots = [Shot(row["prompt"], row["prompt_index"], row["seed"]) for row in rows if row["contestant"] == asked[1]]
    wanted = next((shot for shot in shots if (shot.prompt_index, shot.seed) == (int(asked[2]), int(asked[3]))), None)
    if wanted is None:
        contestants = ", ".join(dict.fromkeys(row["contestant"] for row in rows))
        raise UserError(f"{folder} has no clip {clip}; its contestants are {contestants}, its clips lie in clips/")
    return asked[1], wanted, sorted(shots, key=lambda shot: (shot.prompt_index, shot.seed))


def _check_unchanged(makers: Makers, facts: dict[str, Any], contestant: str, evaluation: str) -> None:
    found = makers.facts()
    changed = [f"the model's {part}" for part in ("model_hash", "vae_hash") if found[part] != facts[part]]
    sources = facts.get("sources", facts.get("adapters", {}))
    if found["sources"].get(contestant) != sources.get(contestant):
        changed.append(f"the adapter of {contestant}")
    if changed:
        raise UserError(
            f"{' and '.join(changed)} changed since {evaluation} was made, so its clips cannot be made again; "
            "`densedpo evaluate` compares what is there now"
        )
