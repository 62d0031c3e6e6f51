"""The eta preview: what different noise levels do to a few clips, before thousands of pairs are paid for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from densedpo.diffusion.protocol import VideoModel
from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.models.encoded import clip_latents, conditioning, first_frames
from densedpo.pairs.generate import generate_pairs
from densedpo.pairs.recipe import plan
from densedpo.pairs.settings import PairSettings, PreviewSettings
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.shapes import like_batches, shape_of
from densedpo.video.io import read_video
from densedpo.video.player import contact_sheet


@dataclass(frozen=True)
class PreviewCell:
    """How far a and b are apart for one clip at one noise level."""

    clip: str
    eta: float
    model_calls: int
    distance: float


def preview_eta(project: Project, model: VideoModel, settings: PreviewSettings, out: Path) -> list[PreviewCell]:
    """Write a contact sheet (PNG): for each clip the clip itself, then a and b for each eta; time runs to the right.

    Raises:
        UserError: the project has no clips in its train split, or an eta is out of range.
    """
    clips = list(project.clips("train"))[: settings.clips]
    if not clips:
        raise UserError("there are no clips in the train split: run `densedpo ingest`, with more than a few files")
    rows = {clip.id: [read_video(project.media_path(clip.media))[0]] for clip in clips}
    cells = []
    same = settings.model_dump(include={"sampler", "steps", "guidance", "seed"})
    for eta in track(sorted(settings.etas), description="previewing eta"):
        one = PairSettings(eta_low=eta, eta_high=eta, **same)
        for part in like_batches(clips, shape_of, len(clips)):
            recipes = [recipe for _, recipe in plan(part, model, project.settings.fps, one)]
            images = first_frames(recipes)
            positive = conditioning(project, model, [r["prompt"] for r in recipes], images)
            away = [r["negative_prompt"] for r in recipes]
            negative = conditioning(project, model, away, images, negative=True)
            result = generate_pairs(model, recipes, clip_latents(project, model, part), positive, negative)
            calls = round(recipes[0]["eta_step_fraction"] * recipes[0]["steps"])
            for i, clip in enumerate(part):
                rows[clip.id] += [result.video_a[i], result.video_b[i]]
                cells.append(PreviewCell(clip.id, eta, calls, result.distance[i].item()))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(out)
    with disk_full_is_clear(out):
        contact_sheet([video for row in rows.values() for video in row]).save(temporary, format="PNG")
        put_in_place(temporary, out)
    return cells
