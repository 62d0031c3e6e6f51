"""The gates of the tiny world: statistics on values worked out by hand, and one small run from end to end."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densedpo import cli
from densedpo.gates import rows, statistics
from densedpo.gates.arrays import quality, speed, verdicts
from densedpo.gates.finetune import finetuned
from densedpo.gates.measure import Report, Size, box_psnr, measure_gates
from densedpo.gates.samples import SEGMENTS, Take, calibration_captions, draw_guides, generated, guided, real_scenes
from densedpo.gates.statistics import Estimate
from densedpo.gates.table import Gate, gate_table
from densedpo.models import load_model
from densedpo.tinyworld import world
from densedpo.tinyworld.oracle import ClipScores, Scores
from densedpo.tinyworld.second_scorer import SecondScores

SMALLEST = Size(prompts=2, clips=3, reconstructed=2, guides=2, members=2, finetune_steps=2, finetuned_clips=1)


def test_the_jackknife_of_a_mean_is_its_usual_error_and_of_a_ratio_close_to_it() -> None:
    values = np.array([[1.0, 3.0], [2.0, 6.0], [9.0, 3.0]])  # prompt means 2, 4, 6
    got = statistics.jackknife(lambda x: float(x.mean()), values)
    assert got.value == 4.0
    assert got.error == pytest.approx(2.0 / math.sqrt(3))
    assert (got.high - got.value) / got.error == pytest.approx(4.302653)  # Student's t, 2 degrees of freedom
    assert statistics.jackknife(lambda x: float(x.mean()), values[:1]).value == 2.0
    assert math.isnan(statistics.jackknife(lambda x: float(x.mean()), values[:1]).error)


def test_slope_and_ratio() -> None:
    x = np.array([0.0, 1.0, 2.0])
    assert statistics.slope(x, np.array([1.0, 0.0, -4.0])) == pytest.approx(-2.5)
    assert statistics.slopes_ratio(x, 1 + 0.1 * x, x, 3 - 0.5 * x) == pytest.approx(0.2)
    assert math.isnan(statistics.slope(np.ones(3), x))
    assert math.isnan(statistics.ratio(1.0, 0.0))


def test_thirds_are_of_equal_size_whatever_the_shape() -> None:
    assert statistics.thirds(np.array([[5.0, 1.0, 3.0], [2.0, 9.0, 4.0]])).tolist() == [[2, 0, 1], [0, 2, 1]]
    assert np.bincount(statistics.thirds(np.zeros((4, 6))).ravel()).tolist() == [8, 8, 8]


def test_log_speed_stops_where_the_oracle_sees_no_motion() -> None:
    assert statistics.log_speed(np.array([0.0, 0.05, math.e])).tolist() == pytest.approx([math.log(0.1)] * 2 + [1.0])


def test_within_prompt_figures_do_not_see_differences_between_prompts() -> None:
    speed_PK = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [0.0, 0.0, 0.0]])
    assert statistics.variation(speed_PK) == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    quality_PK = np.array([[0.3, 0.2, 0.1], [0.7, 0.8, 0.9], [0.5, 0.4, 0.3]])
    assert statistics.within_prompt_correlation(quality_PK, speed_PK) == pytest.approx((-1 + 1 + 0) / 3)
    assert statistics.rank_correlation(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)


def antisymmetric(*above: tuple[int, int, int], count: int) -> np.ndarray:
    choice = np.zeros((count, count), dtype=np.int64)
    for i, j, sign in above:
        choice[i, j], choice[j, i] = sign, -sign
    return choice


def test_slower_preferred_counts_decisive_pairs_of_different_speed() -> None:
    # 0 is slowest, 2 and 3 are equally fast. 0 beats 1 (slower preferred), 2 beats 0 (faster), 1 beats 3 (slower),
    # 2 beats 3 (no slower one), the others tie.
    choice = antisymmetric((0, 1, 1), (0, 2, -1), (1, 3, 1), (2, 3, 1), count=4)
    slower_P, decisive_P = statistics.slower_preferred(choice[None], np.array([[1.0, 2.0, 5.0, 5.0]]))
    assert (slower_P.tolist(), decisive_P.tolist()) == ([2], [3])


def test_the_best_of_n_has_most_wins_and_equals_are_averaged() -> None:
    values = np.array([1.0, 2.0, 6.0])
    choice = antisymmetric((0, 1, 1), (0, 2, 1), count=3)  # 0 beats both, 1 and 2 tie
    assert statistics.value_of_best(choice, values, 3) == 1.0
    assert statistics.value_of_best(choice, values, 2) == pytest.approx((1.0 + 1.0 + 4.0) / 3)
    assert statistics.value_of_best(choice, values, 1) == pytest.approx(3.0)
    circle = antisymmetric((0, 1, 1), (1, 2, 1), (0, 2, -1), count=3)
    assert statistics.value_of_best(circle, values, 3) == pytest.approx(3.0)


def test_pairs_above_the_diagonal() -> None:
    assert statistics.pairs_above_diagonal(np.arange(9.0).reshape(1, 3, 3)).tolist() == [[1.0, 2.0, 5.0]]


def a_take(quality: float, speed: float = 1.0, segments: tuple[float, ...] = (), **details: float) -> Take:
    def scores(value: float) -> Scores:
        return Scores(value, 1.0, 1.0, speed)

    said = {"colour": 1.0, "shape": 1.0, "background": 1.0, "empty": 0.0} | details
    parts = tuple(scores(value) for value in segments)
    return Take(
        "a red star moves on a grey background",
        np.zeros((1, 2, 2, 3), np.uint8),
        ClipScores(scores(quality), parts, said),
    )


def test_the_annotator_judges_each_two_clips_of_a_row_the_same_both_ways_round() -> None:
    row = [a_take(0.9, segments=(0.9, 0.1)), a_take(0.1, segments=(0.1, 0.9)), a_take(0.9, segments=(0.9, 0.1))]
    judged = verdicts([row], "test")
    assert judged.whole_PKK.tolist() == [[[0, 1, 0], [-1, 0, -1], [0, 1, 0]]]
    assert judged.segments_PKKS[0, 0, 1].tolist() == [1, -1]
    assert judged.segments_PKKS[0, 1, 0].tolist() == [-1, 1]
    assert (quality([row]).tolist(), speed([row]).tolist()) == ([[0.9, 0.1, 0.9]], [[1.0, 1.0, 1.0]])


def test_a_segment_is_defective_below_six_tenths_of_the_captions_real_ones() -> None:
    real = [[a_take(1.0, segments=(1.0, 0.9)), a_take(1.0, segments=(0.7, 0.6))]]  # mean 0.8, so the bound is 0.48
    assert rows.defective([[a_take(1.0, segments=(0.49, 0.47))]], real).tolist() == [[[0.0, 1.0]]]


def test_an_attribute_is_right_in_clips_with_an_object_only() -> None:
    base = [[a_take(1.0, shape=0.6), a_take(1.0, shape=0.4)], [a_take(1.0), a_take(0.0, empty=0.8)]]
    assert [gate.estimate.value for gate in rows.likeness(base)] == [0.75, 0.5, 0.75]


def test_headroom_is_best_minus_mean_of_each_prompt() -> None:
    gate = rows.headroom([[a_take(0.25), a_take(0.75)], [a_take(0.5), a_take(0.5)]])
    assert (gate.estimate.value, gate.held, gate.bound) == (0.125, True, "≥ 0.1")


def test_the_psnr_counts_the_objects_box_only() -> None:
    scene = real_scenes(["a red square moves on a black background"], 1)[0][0]
    clip = world.render(scene)
    touched = world.coverage(scene) > 0
    assert box_psnr(scene, clip, clip) == 60.0
    outside = np.ones(clip.shape[1:3], bool)
    for frame in touched:
        y, x = frame.nonzero()
        outside[y.min() : y.max() + 1, x.min() : x.max() + 1] = False
    wrong = np.where(outside[None, :, :, None], 255 - clip, clip)
    assert box_psnr(scene, clip, wrong) == 60.0
    off = np.where(clip > 127, clip - 16, clip + 16).astype(np.uint8)
    assert box_psnr(scene, clip, off) == pytest.approx(20 * math.log10(255 / 16))


def test_a_gate_holds_at_its_bounds_and_never_when_unknown() -> None:
    gate = Gate("x", Estimate(0.25), 4, "clips", low=0.25, high=0.45)
    assert (gate.held, gate.bound) == (True, "0.25 to 0.45")
    assert replace(gate, estimate=Estimate(0.46)).held is False
    unknown = replace(gate, estimate=Estimate(math.nan))
    assert unknown.held is False
    assert unknown.row() == {
        "name": "x", "bound": "0.25 to 0.45", "value": None, "error": None, "low": None, "high": None, "n": 4,
        "of": "clips", "held": False,
    }  # fmt: skip
    reported = Gate("y", Estimate(1.0), 4, "clips")
    assert (reported.held, reported.bound) == (None, "")
    assert gate_table([reported, gate], "title").row_count == 2


def test_calibration_captions_are_of_the_tuning_split_and_name_no_speed() -> None:
    captions = calibration_captions(48)
    asked = [world.parse_caption(caption) for caption in captions]
    assert {attributes.split for attributes in asked} == {"tune"}
    assert {attributes.speed_word for attributes in asked} == {""}
    assert len(set(captions)) == 48
    assert calibration_captions(5) == captions[:5]


@pytest.fixture(scope="module")
def measured(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("gates")
    return measure_gates(load_model(str(random_wan_folder)), SMALLEST, out), out


def test_a_random_model_is_measured_in_everything_and_found_wanting(measured: tuple[Report, Path]) -> None:
    report, out = measured
    gates = {gate.name: gate for gate in report.gates}
    assert sum(gate.held is not None for gate in report.gates) == 28
    assert gates["visual quality"].estimate.value < 0.3
    assert gates["defective segments"].held is False
    assert gates["autoencoder: quality over that of renders, fast third"].held is False
    assert gates["defective segments of real clips"].estimate.value == 0.0
    assert gates["CPU-seconds for a clip"].estimate.value > 0
    result = json.loads((out / "gates.json").read_text())
    assert result == json.loads(json.dumps(report.result))
    assert (result["gates"], len(result["rows"])) == (28, len(report.gates))


def test_sheets_show_frames_enlarged_three_times(measured: tuple[Report, Path]) -> None:
    _, out = measured
    assert sorted(path.name for path in out.iterdir()) == [
        "gates.json", "guided-pairs.png", "reconstructions.png", "samples.png", "slow-fast.png",
    ]  # fmt: skip
    with Image.open(out / "reconstructions.png") as sheet:
        real = world.render(real_scenes(calibration_captions(1), 1)[0][0])
        shown = np.asarray(sheet)[32 : 32 + 144, 150 : 150 + 144]
    assert (shown == real[0].repeat(3, axis=0).repeat(3, axis=1)).all()


def test_samples_and_fine_tuning_are_functions_of_their_seeds(random_wan_folder: Path) -> None:
    model = load_model(str(random_wan_folder))
    captions, guides = calibration_captions(1), draw_guides(model, 2)

    def frames() -> np.ndarray:
        return generated(model, captions, 1, "sampling")[0][0][0].frames

    before = frames()
    with finetuned(model, guides, 2):
        first = [p.clone() for p in model.denoiser.parameters() if p.requires_grad]
    with finetuned(model, guides, 2):
        again = [p.clone() for p in model.denoiser.parameters() if p.requires_grad]
    assert any(p.abs().max() > 0 for p in first[1::2])  # the halves that start at zero have learned
    assert all(torch.equal(p, q) for p, q in zip(first, again, strict=True))
    assert (frames() == before).all()  # and left nothing behind
    pair = guided(model, guides, 2)[1]
    assert (pair[0].frames != pair[1].frames).any()
    assert (guided(model, guides, 2)[1][1].frames == pair[1].frames).all()
    assert len(pair[0].scores.segments) == len(SEGMENTS) == 4


def test_what_belongs_to_the_gates_is_refused_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--quick"]) == 2
    assert "give --world as well" in capsys.readouterr().err


def measured_by_hand() -> rows.Measured:
    """Three prompts alike: of each a slow, a middling and a fast clip, the faster the worse; real clips at 4 px/frame.

    The annotator prefers the slower clip of every two, so does the choice of guided ones.
    """

    def clip(quality: float, speed: float) -> Take:
        return a_take(quality, speed=speed, segments=(quality,))

    base = [[clip(0.9, 1.0), clip(0.7, 2.0), clip(0.1, 4.0)] for _ in range(3)]
    real = [[clip(1.0, 4.0)] * 3 for _ in range(3)]
    again = [[clip(0.9, 1.0), clip(0.8, 2.0), clip(0.3, 4.0)] for _ in range(3)]  # slow thirds lose least
    judged = verdicts(base, "by hand")
    return rows.Measured(
        real=real,
        reconstructed=again,
        second_reconstructed=[
            [SecondScores(0.2, 0.5, 0.1 * speed, 0.0) for speed in (1.0, 2.0, 4.0)] for _ in range(3)
        ],
        psnr_PV=np.full((3, 3), 25.0),
        world_speed_PV=np.array([[1.0, 2.0, 4.0]] * 3),
        base=base,
        base_verdicts=judged,
        guided=base,
        guided_verdicts=judged,
        second=[],
        tuned=[[clip(0.95, 1.0), clip(0.75, 2.0), clip(0.15, 4.0)] for _ in range(3)],
        cpu_seconds=0.0,
    )


def test_gates_point_the_right_way() -> None:
    measured = measured_by_hand()
    found = {
        gate.name: gate.estimate.value
        for gate in (
            *rows.autoencoder(measured),
            *rows.leaks(measured),
            *rows.defects(measured),
            *rows.motion(measured),
            *rows.preferences(measured),
            rows.headroom(measured.base),
            rows.finetuning(measured),
        )
    }
    expected = {
        "autoencoder: quality over that of renders, slow third": 0.9,
        "autoencoder: quality over that of renders, fast third": 0.3,
        "reconstructions: oracle's visual quality against log speed": -0.6 / (2 * 0.62 / 3) ** 0.5,
        "reconstructions: oracle's text alignment against log speed": 0.0,
        "reconstructions: second scorer's temporal consistency against log speed": 3 / (2 * 42 / 9) ** 0.5,
        "defective segments": 1 / 3,
        "defective segments, slow third": 0.0,
        "defective segments, fast third": 1.0,
        "quality against log speed within a prompt: Spearman": -1.0,
        "mean speed, base over real": (7 / 3) / 4,
        "slower preferred, of two independent clips": 1.0,
        "best of 3 lowers mean speed by": 1 - 1 / (7 / 3),
        "best of 3 minus mean quality": 0.9 - 1.7 / 3,
        "change of quality by fine-tuning on real clips": 0.05,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
