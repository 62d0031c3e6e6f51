"""The simulated annotator of the tiny world: it judges artifacts, text and consistency, and never motion."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from densedpo.config import Settings
from densedpo.store.segments import Segment
from densedpo.tinyworld.oracle import Scores, score_clip

WEIGHTS = {"visual_quality": 0.5, "text_alignment": 0.25, "temporal_consistency": 0.25}


class OracleAnnotatorSettings(Settings):
    """How carefully the annotator looks; all in units of utility, which runs from 0 to 1."""

    noise: float = Field(0.03, ge=0, description="standard deviation of a judgement, of a segment as of a whole clip")
    tie_band: float = Field(0.036, ge=0, description="differences up to this are ties")
    segment_sensitivity: float = Field(1.5, gt=0, description="a segment's difference counts this many times")
    seed: int = 0


@dataclass(frozen=True)
class Judgement:
    """Which clip is better; `margin` is the noisy difference of utility, positive where a is better."""

    segment: int | None  # None: the whole clip
    choice: Literal["a", "b", "tie"]
    margin: float


def utility(scores: Scores) -> float:
    """What the annotator cares about, in [0, 1]; dynamic degree is no part of it."""
    return sum(weight * float(getattr(scores, aspect)) for aspect, weight in WEIGHTS.items())


class OracleAnnotator:
    """Judges pairs of clips with noise that is a pure function of (seed, pair, segment).

    The noise pushes towards or away from the better clip, not towards a or b: swapping the clips flips the label and
    nothing else, and equal clips tie.
    """

    def __init__(self, settings: OracleAnnotatorSettings) -> None:
        self.settings = settings

    def judge_pair(
        self,
        pair_id: str,
        frames_a: NDArray[np.uint8],
        frames_b: NDArray[np.uint8],
        caption: str,
        segments: Sequence[Segment],
    ) -> list[Judgement]:
        """Judge each segment of two clips, `[T, H, W, 3]` in 0..255."""
        spans = [(segment.first_frame, segment.end_frame) for segment in segments]
        a, b = (score_clip(frames, caption, spans).segments for frames in (frames_a, frames_b))
        return [self.decide(pair_id, x, y, segment.index) for x, y, segment in zip(a, b, segments, strict=True)]

    def judge_whole(
        self, pair_id: str, frames_a: NDArray[np.uint8], frames_b: NDArray[np.uint8], caption: str
    ) -> Judgement:
        """Judge two whole clips, `[T, H, W, 3]` in 0..255."""
        return self.decide(pair_id, score_clip(frames_a, caption).whole, score_clip(frames_b, caption).whole, None)

    def decide(self, pair_id: str, a: Scores, b: Scores, segment: int | None) -> Judgement:
        """Judge two clips, or two segments with index `segment`, by their scores."""
        settings = self.settings
        difference = utility(a) - utility(b)
        key = f"{settings.seed}/{pair_id}/{'whole' if segment is None else segment}"
        draws = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
        noise = settings.noise * float(draws.normal()) * float(np.sign(difference))
        margin = difference * (1.0 if segment is None else settings.segment_sensitivity) + noise
        if abs(margin) <= settings.tie_band:
            return Judgement(segment, "tie", margin)
        return Judgement(segment, "a" if margin > 0 else "b", margin)
