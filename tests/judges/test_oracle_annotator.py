"""The simulated annotator: deterministic, without a side, and blind to motion."""

import dataclasses

import numpy as np
import pytest

from densedpo.judges.oracle import Judgement, OracleAnnotator, OracleAnnotatorSettings, utility
from densedpo.store.segments import segment_grid
from densedpo.tinyworld.oracle import Scores
from densedpo.tinyworld.world import FPS, FRAMES, Attributes, render, sample_scene

ASKED = Attributes("red", "star", "navy")
SEGMENTS = segment_grid(FRAMES, FPS, 1.0)
FLIPPED = {"a": "b", "b": "a", "tie": "tie"}
GOOD, FAIR = Scores(0.9, 1.0, 0.9, 1.0), Scores(0.8, 1.0, 0.9, 1.0)


def clip(number: int) -> np.ndarray:
    return render(sample_scene(np.random.default_rng(number), ASKED))


def spoiled(number: int) -> np.ndarray:
    """Blurred in its second second only."""
    frames = clip(number).copy()
    frames[8:16, ::2] = frames[8:16, 1::2]
    return frames


def flip(judgement: Judgement) -> Judgement:
    return Judgement(judgement.segment, FLIPPED[judgement.choice], -judgement.margin)  # type: ignore[arg-type]


def test_swapping_the_clips_flips_every_label() -> None:
    annotator = OracleAnnotator(OracleAnnotatorSettings(noise=0.2))
    for pair in range(3):
        a, b = spoiled(pair), clip(pair + 100)
        there = annotator.judge_pair(str(pair), a, b, ASKED.caption, SEGMENTS)
        back = annotator.judge_pair(str(pair), b, a, ASKED.caption, SEGMENTS)
        assert [flip(judgement) for judgement in there] == back
        whole = annotator.judge_whole(str(pair), a, b, ASKED.caption)
        assert flip(whole) == annotator.judge_whole(str(pair), b, a, ASKED.caption)


def test_only_the_spoiled_segment_has_a_loser() -> None:
    annotator = OracleAnnotator(OracleAnnotatorSettings(noise=0.0))
    judgements = annotator.judge_pair("p", spoiled(1), clip(1), ASKED.caption, SEGMENTS)
    assert [judgement.segment for judgement in judgements] == [0, 1, 2, 3]
    assert [judgement.choice for judgement in judgements] == ["tie", "b", "tie", "tie"]
    assert annotator.judge_whole("p", spoiled(1), clip(1), ASKED.caption).choice == "b"


def test_identical_clips_tie_however_noisy_the_annotator() -> None:
    annotator = OracleAnnotator(OracleAnnotatorSettings(noise=5.0, tie_band=0.0))
    judgements = annotator.judge_pair("p", clip(1), clip(1), ASKED.caption, SEGMENTS)
    assert {judgement.choice for judgement in judgements} == {"tie"}


def test_noise_depends_on_seed_pair_and_segment_alone() -> None:
    def margin(seed: int = 0, pair: str = "p", segment: int | None = 0) -> float:
        return OracleAnnotator(OracleAnnotatorSettings(seed=seed)).decide(pair, GOOD, FAIR, segment).margin

    assert margin() == margin()
    assert len({margin(), margin(seed=1), margin(pair="q"), margin(segment=1), margin(segment=None)}) == 5


@pytest.mark.parametrize(("segment", "factor"), [(None, 1.0), (2, 1.5)])
def test_segments_have_larger_differences_and_the_same_noise(segment: int | None, factor: float) -> None:
    annotator = OracleAnnotator(OracleAnnotatorSettings(noise=0.03))
    margins = [annotator.decide(str(pair), GOOD, FAIR, segment).margin for pair in range(2000)]
    assert np.mean(margins) == pytest.approx(factor * (utility(GOOD) - utility(FAIR)), abs=0.003)
    assert np.std(margins) == pytest.approx(0.03, rel=0.06)


def test_the_tie_band_decides_what_is_a_tie() -> None:
    def choice(band: float) -> str:
        return OracleAnnotator(OracleAnnotatorSettings(noise=0.0, tie_band=band)).decide("p", GOOD, FAIR, None).choice

    assert choice(0.04) == "a"
    assert choice(0.06) == "tie"


def test_motion_and_speed_words_do_not_count() -> None:
    assert utility(GOOD) == utility(dataclasses.replace(GOOD, dynamic_degree=5.0))
    annotator = OracleAnnotator(OracleAnnotatorSettings())
    slow = [
        annotator.judge_whole("p", spoiled(1), clip(2), f"a red star moves {w} on a navy background")
        for w in ("slowly", "quickly")
    ]
    assert slow[0] == slow[1]


@pytest.mark.parametrize("aspect", ["visual_quality", "text_alignment", "temporal_consistency"])
def test_each_aspect_counts(aspect: str) -> None:
    assert utility(dataclasses.replace(GOOD, **{aspect: 0.5})) < utility(GOOD)
