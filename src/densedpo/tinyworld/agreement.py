"""How far the oracle and the second scorer agree on clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from densedpo.tinyworld.oracle import score_clip
from densedpo.tinyworld.second_scorer import SecondScores, second_score


def agreement(clips: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> dict[str, float]:
    """Spearman correlation of the two scorers over clips, for each score by its name.

    Args:
        clips: each `[T, H, W, 3]` in 0..255.
        captions: of the tiny world, one a clip.

    A score that is the same for all clips has no order, and its correlation is nan.
    """
    pairs = list(zip(clips, captions, strict=True))
    first = [score_clip(frames, caption).whole for frames, caption in pairs]
    second = [second_score(frames, caption) for frames, caption in pairs]
    result = {}
    for name in (field.name for field in fields(SecondScores)):
        a, b = ([float(getattr(scores, name)) for scores in given] for given in (first, second))
        constant = len(set(a)) < 2 or len(set(b)) < 2
        result[name] = float("nan") if constant else float(stats.spearmanr(a, b).statistic)
    return result
