"""No score of clips that went through the shipped autoencoder falls or rises with speed."""

import numpy as np
import pytest

from densedpo.gates.rows import ASPECTS
from densedpo.gates.samples import calibration_captions, real_scenes, reconstructed, rendered, second_scores
from densedpo.models.load import load_model


@pytest.mark.long
def test_neither_scorer_sees_speed_in_reconstructions() -> None:
    scenes = real_scenes(calibration_captions(48), 8)
    clips = reconstructed(load_model("tinyworld"), rendered(scenes))
    log_speed = np.log([scene.speeds.mean() for row in scenes for scene in row])
    oracle = [each.scores.whole for row in clips for each in row]
    second = [each for row in second_scores(clips) for each in row]
    for scores in (oracle, second):
        for aspect in ASPECTS:
            values = np.array([getattr(each, aspect) for each in scores])
            assert values.std() > 0  # a constant would say nothing
            assert abs(np.corrcoef(values, log_speed)[0, 1]) < 0.1, aspect
