"""The tiny world's own scores: exact, but only for its captions."""

from __future__ import annotations

import math
from dataclasses import asdict

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Aspect, Better, Metric, UnmeasurableError
from densedpo.metrics.tools import Tools
from densedpo.tinyworld.oracle import score_clip
from densedpo.tinyworld.world import parse_caption


class Oracle(Metric):
    """One of the oracle's four scores of a whole clip."""

    source = "the tiny world's oracle (docs/tinyworld.md)"
    low = 0.0

    def __init__(self, name: str, title: str, aspect: Aspect, high: float, better: Better, blind: str) -> None:
        self.name, self.title, self.aspect, self.high, self.better = name, title, aspect, high, better
        self.blind_spot = blind
        self.amount = aspect == "motion"

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        if None in asked.captions:
            return "needs captions, give them with --prompts FILE"
        foreign = [caption for caption in asked.captions if caption and not _is_of_tiny_world(caption)]
        return f"only for captions of the tiny world, {foreign[0]!r} is none" if foreign else None

    def measure(self, clip: Footage, tools: Tools) -> float:
        return clip.once("oracle", lambda: _scores(clip))[self.name]


def _is_of_tiny_world(caption: str) -> bool:
    try:
        parse_caption(caption)
    except ValueError:
        return False
    return True


def _scores(clip: Footage) -> dict[str, float]:
    if clip.caption is None:
        raise UnmeasurableError("its caption is unknown")
    try:
        return asdict(score_clip(clip.frames, clip.caption).whole)
    except ValueError as error:
        raise UnmeasurableError(f"it is no clip of the tiny world: {error}") from error


METRICS = (
    Oracle(
        "visual_quality",
        "Visual quality (tiny world)",
        "quality",
        1.0,
        "higher",
        "Looks at single frames: a frozen clip keeps its score.",
    ),
    Oracle(
        "text_alignment",
        "Text alignment (tiny world)",
        "text",
        1.0,
        "higher",
        "Sees motion only where the caption states it.",
    ),
    Oracle(
        "temporal_consistency",
        "Temporal consistency (tiny world)",
        "consistency",
        1.0,
        "higher",
        "A frozen clip scores a perfect 1.",
    ),
    Oracle(
        "dynamic_degree",
        "Speed in pixels a frame (tiny world)",
        "motion",
        math.inf,
        "neither",
        "Follows one object, and no other change.",
    ),
)
