"""What a project's clips and pairs are: where they come from, how they move, how alike the members are."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.metrics import Asked, Footage, Tools, UnmeasurableError
from densedpo.metrics.motion_strength import MotionStrength
from densedpo.progress import track
from densedpo.report.histogram import histogram
from densedpo.report.outcomes import share
from densedpo.stats import proportion_interval
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair

MOST_MEASURED = 200  # clips whose motion is measured: the first in id order, and ids are hashes
SPLITS = ("train", "validation", "test")


def clip_figures(project: Project) -> dict[str, Any]:
    """The real clips: how many, from where, under which licence, and how much moves in them."""
    clips = list(project.clips())
    sources = Counter((clip.source, clip.licence) for clip in clips)
    shapes = Counter((clip.width, clip.height, clip.frames, clip.fps) for clip in clips)
    return {
        "count": len(clips),
        "seconds": sum(clip.frames / clip.fps for clip in clips),
        "captions": len({clip.caption for clip in clips}),
        "splits": _splits(clips),
        "sources": [{"source": s, "licence": x, "clips": n} for (s, x), n in _most_first(sources)],
        "shapes": [
            {"width": width, "height": height, "frames": frames, "fps": fps, "clips": n}
            for (width, height, frames, fps), n in _most_first(shapes)
        ],
        "ingests": _ingests(project),
        "motion": _motion(project, clips[:MOST_MEASURED]),
    }


def pair_figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The pairs: how they were made, how far their members start and end apart."""
    alike = sum(pair.near_identical for pair in pairs)
    limits = proportion_interval(alike, len(pairs))
    return {
        "modes": dict(sorted(Counter(pair.mode for pair in pairs).items())),
        "splits": _splits(pairs),
        "prompts": len({pair.prompt for pair in pairs}),
        "with_clip": sum(pair.clip is not None for pair in pairs),
        "near_identical": {"value": share(alike, len(pairs)), "low": limits.low, "high": limits.high, "n": len(pairs)},
        "eta": histogram([pair.eta for pair in pairs if pair.eta is not None]),
        "distance": histogram([pair.distance for pair in pairs if pair.distance is not None]),
    }


def _splits(rows: Sequence[Clip | Pair]) -> dict[str, int]:
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in SPLITS}


def _most_first(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _ingests(project: Project) -> list[dict[str, Any]]:
    """Every time that files were taken in, oldest first: how many, and how many were refused."""
    events = sorted((event for event in project.events() if event.kind == "ingest"), key=lambda event: event.time)
    return [{key: event.detail.get(key) for key in ("folder", "added", "known", "rejected")} for event in events]


def _motion(project: Project, clips: Sequence[Clip]) -> dict[str, Any]:
    """Motion strength of these clips, or in `unmeasured` why it is unknown. The project's cache keeps measurements.

    A clip that cannot be read, or is too small for optical flow, has no value.
    """
    metric, tools = MotionStrength(), Tools()
    if why := metric.why_not(tools, Asked()):
        return {"unmeasured": why, "strength": None}
    path = project.cache_folder("motion") / "strength.json"
    known: dict[str, float | None] = json.loads(path.read_text()) if path.exists() else {}
    new = [clip for clip in clips if clip.media not in known]
    for clip in track(new, description="measure motion"):
        with contextlib.suppress(UserError):  # cannot be read: perhaps it can later
            known[clip.media] = _measured(metric, project.media_path(clip.media), tools)
    if new:
        write_text_atomic(path, json.dumps(known))
    values = [value for clip in clips if (value := known.get(clip.media)) is not None]
    why = "" if values or not clips else "no clip could be read and was large enough for optical flow"
    return {"unmeasured": why or None, "strength": histogram(values)}


def _measured(metric: MotionStrength, file: Path, tools: Tools) -> float | None:
    try:
        return metric.measure(Footage(file), tools)
    except UnmeasurableError:
        return None
