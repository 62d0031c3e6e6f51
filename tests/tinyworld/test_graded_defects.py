"""Both scorers rank planted defects in the order of their strength."""

import defects
import more_defects
import numpy as np
import pytest
from scipy.stats import spearmanr
from test_oracle import AFFECTED, STRENGTHS, scene_of

from densedpo.tinyworld.oracle import score_clip
from densedpo.tinyworld.second_scorer import second_score

MORE_AFFECTED = {
    "pierced": "visual_quality",
    "wobbling": "visual_quality",
    "writhing": "temporal_consistency",
    "drifting": "text_alignment",
}
ALL = AFFECTED | MORE_AFFECTED
SHAPES = ("square", "triangle", "star", "cross")


def graded(defect: str, shape: str) -> tuple[list[np.ndarray], str]:
    """The same scene with a defect at each of `STRENGTHS`, and its caption."""
    scene = scene_of(shape, len(shape), direction="diagonally")
    plant = getattr(defects if defect in AFFECTED else more_defects, defect)
    return [plant(scene, strength) for strength in STRENGTHS], scene.attributes.caption


def assert_ranked(scores: list[float]) -> None:
    print(np.round(scores, 3))
    assert spearmanr(STRENGTHS, scores).statistic <= -0.95
    assert scores[-1] < 0.85 * scores[0]


@pytest.mark.parametrize("defect", MORE_AFFECTED)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_oracle_ranks_by_strength(defect: str, shape: str) -> None:
    clips, caption = graded(defect, shape)
    assert_ranked([getattr(score_clip(frames, caption).whole, ALL[defect]) for frames in clips])


@pytest.mark.parametrize("number", range(len(ALL)))
@pytest.mark.parametrize("turn", [0, 1])
def test_the_second_scorer_ranks_by_strength(number: int, turn: int) -> None:
    """Every defect on two of the shapes, all shapes in turn."""
    defect = list(ALL)[number]
    clips, caption = graded(defect, SHAPES[(number + 2 * turn) % len(SHAPES)])
    assert_ranked([getattr(second_score(frames, caption), ALL[defect]) for frames in clips])
