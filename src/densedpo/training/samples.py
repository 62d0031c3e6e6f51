"""Clips of held-out prompts while an adapter is trained, always from the same noise.

They are drawn from streams of their own and without gradient, a clip at a time, so training never notices.

Shapes: B batch, C channels, F latent frames, H height, W width, T frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from densedpo.diffusion.protocol import Conditioning, VideoModel, given_frames
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_of
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.models.encoded import conditioning, first_frames_of
from densedpo.store.opinions import pair_columns
from densedpo.store.project import Project
from densedpo.store.schema import content_id
from densedpo.store.shapes import Shape, shape_of
from densedpo.training.log import Log
from densedpo.training.processes import Processes
from densedpo.training.settings import TrainSettings
from densedpo.video.io import read_video, write_video

MOST = 4  # prompts, unless a file names them
SHOWN = 5  # frames of a clip, side by side, in trackers

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title>
<style>body{{font:15px system-ui,sans-serif;margin:24px}}table{{border-spacing:8px}}th{{text-align:left;font-weight:600;
max-width:18em}}video{{width:100%;min-width:140px;max-width:320px;display:block}}</style></head>
<body><h1>{title}</h1><p>One row a prompt, always from the same noise; one column a step. Step 0 is before training.</p>
<table><thead><tr><th scope="col">prompt</th>{head}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


@dataclass(frozen=True)
class HeldOut:
    """A prompt that is not trained on, what the denoiser is given for it, its clip's shape, and its files' name."""

    prompt: str
    told: Conditioning
    shape: Shape
    name: str


class Samples:
    """Renders the held-out prompts into `samples/step-XXXXXX/` of a run, and its contact sheet `samples.html`."""

    def __init__(self, project: Project, model: VideoModel, settings: TrainSettings, run: Path) -> None:
        """Finds and encodes the prompts. Raises UserError if there are none, or a file of them cannot be used."""
        self.model, self.settings, self.run, self.fps = model, settings, run, project.settings.fps
        self.every = settings.sample_every or 1
        self.held = list(_held_out(project, model, settings))
        self.negative = conditioning(project, model, [model.defaults.negative_prompt], negative=True)

    def after(self, step: int, log: Log, processes: Processes) -> None:
        """Render after `step` steps, if it is due; what is there is not made again. All processes must call it."""
        if step % self.every:
            return
        for held in self.held:
            file = self._file(step, held)
            if processes.gather(not file.exists())[0]:  # all or none, for every forward may be common work
                latents_BCFHW = self._draw(held)
                if processes.first:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_video(file, self.model.decode(latents_BCFHW)[0], self.fps)
        if processes.first:
            log.show(step, {f"samples/{held.name}": strip(read_video(self._file(step, held))[0]) for held in self.held})
            self._write_page()

    @torch.no_grad()
    def _draw(self, held: HeldOut) -> torch.Tensor:
        model = self.model
        shape = model.latent_shape(held.shape.frames, held.shape.height, held.shape.width)
        start_BCFHW = noise(shape, self.settings.seed, "samples", held.prompt)[None]
        given = {k: v for k, v in held.told.tensors.items() if k not in self.negative.tensors}
        negative = Conditioning(self.negative.tensors | given)  # the same first frame, if there is one
        defaults = model.defaults
        sampler = sampler_of(model, "official")
        told = (held.told, negative, defaults.guidance, defaults.guidance_2)
        schedule, key = sampler.sigmas(defaults.steps, shape), (self.settings.seed, "samples", held.prompt)
        return sample(model, start_BCFHW, [schedule], *told, sampler=sampler, keys=[key])

    def _file(self, step: int, held: HeldOut) -> Path:
        return self.run / "samples" / f"step-{step:06d}" / f"{held.name}.mp4"

    def _write_page(self) -> None:
        steps = sorted(int(folder.name.removeprefix("step-")) for folder in self.run.glob("samples/step-*"))
        head = "".join(f'<th scope="col">{step}</th>' for step in steps)
        rows = []
        for held in self.held:
            cells = [self._cell(self._file(step, held), held.prompt) for step in steps]
            rows.append(f'<tr><th scope="row">{escape(held.prompt)}</th>{"".join(cells)}</tr>')
        page = PAGE.format(title=f"Samples of {escape(self.run.name)}", head=head, rows="\n".join(rows))
        write_text_atomic(self.run / "samples.html", page)

    def _cell(self, file: Path, prompt: str) -> str:
        if not file.exists():
            return "<td></td>"
        place, told = file.relative_to(self.run).as_posix(), escape(f"{prompt}, {file.parent.name}", quote=True)
        return f'<td><video src="{place}" aria-label="{told}" controls loop muted autoplay playsinline></video></td>'


def strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A few frames `[T, H, W, 3]` of a clip, evenly spread, side by side: `[H, SHOWN * W, 3]`."""
    places = np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).round().astype(int)
    return np.concatenate([frames[place] for place in places], axis=1)


def _held_out(project: Project, model: VideoModel, settings: TrainSettings) -> Iterator[HeldOut]:
    size = project.settings
    if settings.sample_prompts is not None:
        own = Shape(size.frames, size.width, size.height)
        found: list[tuple[str, str | None, Shape]] = [(line, None, own) for line in _lines_of(settings.sample_prompts)]
        if given_frames(model):
            raise UserError(
                f"{model.name} animates a given first frame, and the prompts in {settings.sample_prompts} have none: "
                "leave --sample-prompts out, and held-out pairs are used"
            )
    else:
        rows = itertools.islice(_held_out_rows(project, settings), MOST)
        found = [(prompt, id, Shape(*shape)) for id, prompt, *shape in rows]
    if not found:
        raise UserError(
            f"{project.root} has no held-out prompts to render, for nothing is in its validation or test split: name "
            "some with --sample-prompts FILE, or leave --sample-every out"
        )
    for place, (prompt, id, shape) in enumerate(found):
        told = conditioning(project, model, [prompt], first_frames_of(project, model, [id]) if id else None)
        yield HeldOut(prompt, told, shape, f"{place:02d}-{content_id(prompt)[:8]}")


def _held_out_rows(project: Project, settings: TrainSettings) -> Iterator[tuple[str, str, int, int, int]]:
    """Id, prompt and shape of held-out pairs (not for sft) and then clips, each prompt once."""
    seen: set[str] = set()
    mode = "independent" if settings.method == "vanilla" else "guided"
    for split in ("validation", "test"):
        clips = ((clip.id, clip.caption, *shape_of(clip)) for clip in project.clips(split))
        pairs = itertools.chain.from_iterable(pair_columns(project, ("prompt", *Shape._fields), split, mode))
        for row in clips if settings.method == "sft" else itertools.chain(pairs, clips):
            if row[1] not in seen:
                seen.add(row[1])
                yield row


def _lines_of(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}; write one prompt a line as UTF-8 text") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
