"""The videos that an evaluation makes itself: the base model and its adapters, from the same noise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from densedpo.diffusion.protocol import VideoModel, check_frame_rate
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.errors import UserError
from densedpo.evaluation.record import Record
from densedpo.evaluation.sampling import Studio
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.evaluation.shots import BASE, Shot
from densedpo.files import file_digest
from densedpo.models import load_model
from densedpo.models.identity import versions
from densedpo.models.lora import ADAPTER, WEIGHTS, adapter_on
from densedpo.models.settings import LoadSettings
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.video.io import write_video

Batch = tuple[str, Sequence[Shot]]  # a contestant, and shots made together


@dataclass(frozen=True)
class Tuned:
    """An adapter that competes. `scale` multiplies its alpha, as the weights of diffusers' `set_adapters` do."""

    folder: Path
    scale: float = 1.0

    def source(self) -> str:
        """What it is made from: the digest of its weights, and the scale if there is one."""
        digest = file_digest(self.folder / WEIGHTS)
        return digest if self.scale == 1 else f"{digest} * {self.scale:g}"

    @contextmanager
    def on(self, denoiser: Any) -> Iterator[None]:
        """The model with this adapter at this scale, for as long as the block lasts. Raises UserError if it is none."""
        with adapter_on(denoiser, self.folder):
            if self.scale != 1:
                denoiser.set_adapters([ADAPTER], [self.scale])
            yield


@dataclass(frozen=True)
class Makers:
    """The base model and the adapters that compete with it."""

    studio: Studio
    adapters: Mapping[str, Tuned]
    loading: LoadSettings

    @property
    def contestants(self) -> tuple[str, ...]:
        """The base first."""
        return (BASE, *self.adapters)

    def facts(self) -> dict[str, Any]:
        """What the videos are made from, for run.json."""
        model = self.studio.model
        return {
            "base_model": model.name,
            "model_hash": model.model_hash,
            "vae_hash": model.vae_hash,
            "loading": self.loading.model_dump(exclude={"device"}) | {"dtype": str(model.dtype).removeprefix("torch.")},
            "sources": {name: tuned.source() for name, tuned in self.adapters.items()},
            "versions": versions(),
        }

    def make(self, record: Record, batches: Iterable[Batch]) -> None:
        """Make and keep the videos of all batches; a stop on the way leaves a batch to be made again."""
        for name, work in groupby(track(list(batches), description="evaluate"), key=itemgetter(0)):
            with self.adapters[name].on(self.studio.model.denoiser) if name != BASE else nullcontext():
                for _, batch in work:
                    began = time.monotonic()
                    for shot, frames in zip(batch, self.studio.videos(batch), strict=True):
                        path = record.place(name, shot)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_video(path, frames, self.studio.size.fps)
                    record.forget(name, batch, time.monotonic() - began)


def find_makers(
    project: Project,
    settings: EvaluateSettings,
    adapters: Mapping[str, Tuned] | None = None,
    loading: LoadSettings | None = None,
) -> tuple[Makers, EvaluateSettings]:
    """The makers, and the settings with the model's own sampler, steps and guidance and the runs filled in.

    `adapters` are the base's opponents, those of the settings' runs if not given; `loading`: as `load_model`.

    Raises UserError as `find_adapters` and `sampler_name`, and for a frame rate or a second expert that the model does
    not have.
    """
    if adapters is None:
        adapters = {name: Tuned(folder) for name, folder in find_adapters(project, settings.runs).items()}
        settings = settings.model_copy(update={"runs": tuple(adapters)})
    loading = loading or LoadSettings()
    model: VideoModel = load_model(project.settings.model, loading)
    check_frame_rate(model, project.settings.fps)
    steps = model.defaults.steps if settings.steps is None else settings.steps
    guidance, guidance_2 = _guidance(model, settings)
    size = project.settings
    sampler = sampler_name(model, settings.sampler)
    shape = model.latent_shape(size.frames, size.height, size.width)
    sigmas = sampler_of(model, sampler).sigmas(steps, shape)
    studio = Studio(model, size, sigmas, guidance, guidance_2, settings.seed, sampler)
    told = {"sampler": sampler, "steps": steps, "guidance": guidance, "guidance_2": guidance_2}
    return Makers(studio, adapters, loading), settings.model_copy(update=told)


def _guidance(model: VideoModel, settings: EvaluateSettings) -> tuple[float, float | None]:
    """The scale, and that of the second expert if it has its own: the model's pair, unless one of them is given."""
    defaults = model.defaults
    if settings.guidance_2 is not None and defaults.boundary is None:
        raise UserError(f"--guidance-2 is for models with two experts; leave it out for {model.name}")
    if settings.guidance is not None:
        return settings.guidance, settings.guidance_2
    return defaults.guidance, defaults.guidance_2 if settings.guidance_2 is None else settings.guidance_2


def find_adapters(project: Project, runs: Sequence[str] | None) -> dict[str, Path]:
    """Training run → folder of its adapter, for the runs named, or for all that have one.

    Raises UserError for a run without an adapter, a run named like the base model, or, if none is named, no run at all.
    """
    found = {file.parents[1].name: file.parent for file in sorted((project.root / "runs").glob(f"*/adapter/{WEIGHTS}"))}
    known = ", ".join(found) or "none"
    for name in found if runs is None else runs:
        if name not in found:
            raise UserError(f"training run {name!r} has no adapter; runs that have one: {known}; see `densedpo train`")
        if name == BASE:
            raise UserError(f"a training run may not be named {BASE!r} here, for that is the base model; rename it")
    if not found and runs is None:
        raise UserError("no training run has an adapter yet; make one with `densedpo train`")
    return found if runs is None else {name: found[name] for name in runs}
