"""What a video is measured by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from densedpo.errors import UserError
from densedpo.tinyworld.oracle import score_clip
from densedpo.tinyworld.world import parse_caption
from densedpo.video.io import Frames


def check_prompts(prompts: Iterable[str]) -> None:
    """Raise UserError for a prompt whose videos cannot be scored."""
    for prompt in prompts:
        try:
            parse_caption(prompt)
        except ValueError as error:
            raise UserError(
                f"videos can be scored for captions of the tiny world only: {error}; give other prompts, "
                "metrics for real videos are to come"
            ) from error


def score(frames: Frames, prompt: str) -> dict[str, float]:
    """Metric → value of a video, uint8 `[T, H, W, 3]` RGB. Raises UserError as `check_prompts`."""
    check_prompts([prompt])
    return asdict(score_clip(frames, prompt).whole)
