"""How much moves in a segment: mean absolute change of luma, in grey levels a second, over both members of a pair."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Pair
from densedpo.store.segments import segment_grid
from densedpo.video.io import read_video

REC601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def motion_strengths(project: Project, pairs: Iterable[Pair]) -> dict[tuple[str, int], float]:
    """Motion of each segment of these pairs; pairs whose videos cannot be read are left out.

    Measurements are kept in the project's cache, so that the same videos are not read again.
    """
    path = project.cache_folder("motion") / f"{project.settings.segment_seconds:g}.json"
    known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    found: dict[tuple[str, int], float] = {}
    before = len(known)
    for pair in track(list(pairs), description="measure motion"):
        try:
            sides = [_of_video(project, pair, media, known) for media in (pair.media_a, pair.media_b)]
        except UserError:
            continue
        for index, strengths in enumerate(zip(*sides, strict=True)):
            found[pair.id, index] = sum(strengths) / 2
    if len(known) > before:
        write_text_atomic(path, json.dumps(known))
    return found


def _of_video(project: Project, pair: Pair, media: str, known: dict[str, list[float]]) -> list[float]:
    grid = segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)
    if len(known.get(media, ())) != len(grid):
        luma_THW = read_video(project.media_path(media))[0] @ REC601
        steps_T = np.abs(np.diff(luma_THW, axis=0)).mean(axis=(1, 2), dtype=np.float64) * pair.fps
        known[media] = [
            float(steps_T[each.first_frame : max(each.first_frame + 1, each.end_frame - 1)].mean())
            if len(steps_T) > each.first_frame
            else 0.0
            for each in grid
        ]
    return known[media]
