"""Drift: how far an adapter moves the model on prompts that have nothing to do with what it was trained for.

At fixed noise on clips that the base model itself makes of those prompts, the tuned model's prediction is compared with
the base's: a few forwards, no sampling, so it is cheap and the same for every contestant.

Shapes: K noise levels, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from densedpo.chunks import chunks
from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import VideoModel
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.evaluation.making import Makers
from densedpo.evaluation.prompts import held_out, read_prompts
from densedpo.evaluation.sampling import Studio
from densedpo.evaluation.shots import Shot
from densedpo.evaluation.sweep_settings import SweepSettings
from densedpo.files import write_text_atomic
from densedpo.models.encoded import save_tensors
from densedpo.models.lora import adapter_off
from densedpo.progress import track
from densedpo.store.opinions import pair_columns
from densedpo.store.project import Project
from densedpo.store.schema import content_id

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)
DEFAULT_SET = Path("motion")  # a set that comes along

Row = dict[str, Any]


def unrelated_prompts(project: Project, settings: SweepSettings) -> list[str]:
    """The first `drift_count` prompts of the file asked for that no training pair has.

    Without a file: the tiny world's held-out captions, or the set `motion` for other models. Raises UserError if fewer
    than two are left.
    """
    if settings.drift_prompts is None and project.settings.model == "tinyworld":
        prompts = held_out()
    else:
        prompts = read_prompts(settings.drift_prompts or DEFAULT_SET, project.settings.model, None)
    modes = ("guided", "independent", "imported")
    parts = (part for mode in modes for part in pair_columns(project, ("prompt",), "train", mode))
    trained = {row[1] for part in parts for row in part} & set(prompts)
    left = [prompt for prompt in prompts if prompt not in trained][: settings.drift_count]
    if len(left) < 2:
        raise UserError(
            f"only {len(left)} of {len(prompts)} prompts have no training pair, so there is nothing to measure drift "
            "on; give others with --drift-prompts FILE"
        )
    return left


def measure_drift(folder: Path, makers: Makers, prompts: Sequence[str], batch: int) -> dict[str, list[Row]]:
    """Contestant → for each prompt `velocity` and `motion`; a stop keeps the contestants that are done.

    `velocity` is |v_tuned - v_base| / |v_base|, the mean over noise levels. `motion` is by how much the differences of
    consecutive latent frames grow in the one-step estimate of the clean clip, as a share of the base's (None for clips
    of a single latent frame).
    """
    studio = makers.studio
    key = content_id(
        studio.model.model_hash, str(studio.model.dtype), studio.seed, studio.sampler, studio.sigmas.tolist(),
        [studio.guidance, studio.guidance_2], [studio.size.frames, studio.size.height, studio.size.width],
        list(SIGMAS), list(prompts),
    )  # fmt: skip
    kept = _kept(folder / "drift.json", key)
    sources = {name: tuned.source() for name, tuned in makers.adapters.items()}
    todo = [name for name in makers.adapters if kept.get(name, {}).get("source") != sources[name]]
    clips = _clips(folder / "drift" / key, studio, prompts, batch) if todo else []
    for name in track(todo, description="drift"):
        with makers.adapters[name].on(studio.model.denoiser):
            rows = [_compare(studio, shot, clip_CFHW, batch) for shot, clip_CFHW in clips]
        kept[name] = {"source": sources[name], "rows": rows}
        write_text_atomic(folder / "drift.json", json.dumps({"key": key, "contestants": kept}) + "\n")
    return {name: kept[name]["rows"] for name in makers.adapters}


def _kept(file: Path, key: str) -> dict[str, Any]:
    before = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return dict(before["contestants"]) if before.get("key") == key else {}


def _clips(folder: Path, studio: Studio, prompts: Sequence[str], batch: int) -> list[tuple[Shot, Tensor]]:
    """The base's latents of every prompt, made once."""
    shots = [Shot(prompt, index, 0) for index, prompt in enumerate(prompts)]
    files = {shot: folder / f"{shot.stem}.safetensors" for shot in shots}
    todo = [part for part in chunks(shots, batch) if not all(files[shot].exists() for shot in part)]
    for part in track(todo, description="clips to measure drift on"):
        for shot, latents_CFHW in zip(part, studio.latents(part), strict=True):
            save_tensors(files[shot], {"latents": latents_CFHW})
    return [(shot, load_file(file)["latents"]) for shot, file in files.items()]


@torch.no_grad()
def _compare(studio: Studio, shot: Shot, clip_CFHW: Tensor, batch: int) -> Row:
    """Tuned against base, the adapter being on."""
    model = studio.model
    noise_CFHW = noise(tuple(clip_CFHW.shape), studio.seed, "drift", shot.prompt)
    text = model.encode_text([shot.prompt])
    velocities: list[float] = []
    motions: list[float] = []
    for part in chunks(SIGMAS, batch):
        sigma_K = model.process.nearest(torch.tensor(part))
        clips, noises = (each.expand(len(part), *each.shape) for each in (clip_CFHW, noise_CFHW))
        noisy_KCFHW = model.process.add_noise(clips, noises, sigma_K)
        told = text.take([0] * len(part))
        with memory_is_clear(f"the drift of {len(part)} clips at once"):
            tuned = model.predict(noisy_KCFHW, sigma_K, told)
            with adapter_off(model.denoiser):
                base = model.predict(noisy_KCFHW, sigma_K, told)
        velocities += relative_change(tuned[:, :, model.padding_frames :], base[:, :, model.padding_frames :])
        motions += motion_change(*(_clean(model, noisy_KCFHW, each, sigma_K) for each in (tuned, base)))
    mean = sum(motions) / len(motions) if motions else None
    return {"prompt": shot.prompt, "velocity": sum(velocities) / len(velocities), "motion": mean}


def _clean(model: VideoModel, noisy_KCFHW: Tensor, prediction_KCFHW: Tensor, sigma_K: Tensor) -> Tensor:
    clean_KCFHW = model.process.step(noisy_KCFHW, prediction_KCFHW, sigma_K, torch.zeros_like(sigma_K))
    return clean_KCFHW[:, :, model.padding_frames :]


def relative_change(tuned_KCFHW: Tensor, base_KCFHW: Tensor) -> list[float]:
    """|tuned - base| / |base|, row by row."""
    moved_K, size_K = (each.flatten(1).norm(dim=1) for each in (tuned_KCFHW - base_KCFHW, base_KCFHW))
    found: list[float] = (moved_K / size_K).tolist()
    return found


def motion_change(tuned_KCFHW: Tensor, base_KCFHW: Tensor) -> list[float]:
    """How much larger the steps from frame to frame are (Euclidean norm), as a share of the base's, row by row.

    Empty for a single frame.
    """
    if base_KCFHW.shape[2] < 2:
        return []
    tuned_K, base_K = (each.diff(dim=2).flatten(1).norm(dim=1) for each in (tuned_KCFHW, base_KCFHW))
    found: list[float] = (tuned_K / base_K - 1).tolist()
    return found
