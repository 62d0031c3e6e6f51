"""Which pairs are learned from, in which order, with which draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from densedpo.errors import UserError
from densedpo.store.project import Project
from densedpo.store.shapes import Shape
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset, Example, Slot, batch_order, slots_of
from densedpo.training.draws import draw_noise, draw_sigma, sigma_weights
from densedpo.training.selection import load_dataset
from small_projects import empty_project, give_labels, model_at, plant_pair, project_with_clips

METHODS = ("dense", "structural", "vanilla")
QUARTER = 0.25  # two frames a segment: five segments


@pytest.fixture
def project(tmp_path: Path, random_wan_folder: Path) -> Project:
    return empty_project(tmp_path / "project", random_wan_folder, segment_seconds=QUARTER)


def dataset(project: Project, **settings: Any) -> Dataset:
    return load_dataset(project, model_at(Path(project.settings.model)), TrainSettings(**settings))


def examples(found: Dataset) -> list[Example]:
    return found.examples(range(len(found)))


@pytest.mark.parametrize(
    ("choices", "kept"),
    [
        (("a", "tie", "tie", "tie", "tie"), False),  # 20%: "at most 20%" are left out
        (("a", "b", "tie", "tie", "tie"), True),
        (("", "a", "tie", "tie", "tie"), True),  # 25% of those that are labelled
        (("skip", "a", "tie", "tie", "tie"), True),  # a skip is no label
        (("tie", "tie", "tie", "tie", "tie"), False),
        (("", "", "", "", "b"), True),
    ],
)
def test_pairs_that_are_nearly_all_ties_are_left_out(project: Project, choices: tuple[str, ...], kept: bool) -> None:
    give_labels(project, plant_pair(project, 0), *choices, segment_seconds=QUARTER)
    give_labels(project, plant_pair(project, 1), "a", "a", "a", "a", "a", segment_seconds=QUARTER)
    found = dataset(project)
    assert len(found) == 1 + kept
    assert found.left_out == ({} if kept else {"with at most 20% non-tie segments": 1})


def test_how_many_ties_are_too_many_is_a_setting(project: Project) -> None:
    give_labels(project, plant_pair(project, 0), "a", "tie", "tie", "tie", "tie", segment_seconds=QUARTER)
    assert len(dataset(project, minimum_nontie=0.1)) == 1


def test_an_example_is_what_the_labels_say(project: Project) -> None:
    give_labels(project, plant_pair(project, 0), "a", "b", "", "skip", "tie", whole="b", segment_seconds=QUARTER)
    (example,) = examples(dataset(project))
    assert example.sign_S.tolist() == [1, -1, 0, 0, 0]
    assert example.weight_S.tolist() == [1, 1, 0, 0, 1]
    assert (example.video_sign, example.video_weight) == (-1, 1.0)


def test_each_method_takes_its_own_kind_of_pair(project: Project) -> None:
    for number, mode in ((0, "guided"), (1, "independent")):
        pair = plant_pair(project, number, mode)
        give_labels(project, pair, "a", "b", whole="a", segment_seconds=QUARTER)
    modes = {pair.id: pair.mode for pair in project.pairs()}
    taken = {name: [modes[e.id] for e in examples(dataset(project, method=name))] for name in METHODS}
    assert taken == {"dense": ["guided"], "structural": ["guided"], "vanilla": ["independent"]}


def test_whole_video_methods_may_take_the_vote_of_the_segments(project: Project) -> None:
    for number, choices in enumerate([("a", "b", "b", "tie", ""), ("a", "b", "tie", "tie", ""), ("a", "", "", "", "")]):
        give_labels(project, plant_pair(project, number), *choices, whole="a", segment_seconds=QUARTER)
    given = dataset(project, method="structural")
    voted = dataset(project, method="structural", video_labels="majority")
    assert [e.video_sign for e in examples(given)] == [1, 1, 1]
    assert sorted(e.video_sign for e in examples(voted)) == [-1, 1]
    assert voted.left_out == {"tied": 1}


def test_sft_takes_the_better_videos_of_pairs(project: Project) -> None:
    for number, choice in enumerate(["a", "b", "tie"]):
        give_labels(project, plant_pair(project, number), whole=choice)
    found = dataset(project, method="sft", sft_on="winners")
    assert sorted(example.members for example in examples(found)) == [("a",), ("b",)]
    assert found.left_out == {"tied": 1}


def test_sft_takes_real_clips(tmp_path: Path, random_wan_folder: Path) -> None:
    project = project_with_clips(tmp_path / "clips", random_wan_folder, clips=2)
    found = dataset(project, method="sft")
    assert [(e.id, e.prompt) for e in examples(found)] == [(clip.id, clip.caption) for clip in project.clips("train")]
    assert all(e.file.exists() for e in examples(found))


def test_only_the_chosen_annotators_count(project: Project) -> None:
    pair = plant_pair(project, 0)
    give_labels(project, pair, "a", segment_seconds=QUARTER, annotator="ann")
    give_labels(project, pair, "b", segment_seconds=QUARTER, annotator="bob")
    assert examples(dataset(project, annotators=("bob",)))[0].sign_S[0] == -1
    assert examples(dataset(project, annotators=("ann",)))[0].sign_S[0] == 1


def test_how_many_labels_become_one_is_a_setting(project: Project) -> None:
    """Two machines outvote a person; a person overrides them; without a clear majority there is no label."""
    pair = plant_pair(project, 0)
    give_labels(project, pair, "a", "a", segment_seconds=QUARTER, annotator="ann")
    for name in ("m1", "m2"):
        give_labels(project, pair, "b", "b", segment_seconds=QUARTER, annotator=name, annotator_kind="vlm")
    assert examples(dataset(project))[0].sign_S[0] == -1
    assert examples(dataset(project, humans_override=True))[0].sign_S[0] == 1
    assert examples(dataset(project, consensus="dawid-skene"))[0].sign_S[0] == -1
    with pytest.raises(UserError, match="1 unlabelled"):
        dataset(project, minimum_confidence=0.7)


def test_nothing_to_train_on_names_the_reasons_with_their_counts(project: Project) -> None:
    with pytest.raises(
        UserError, match="has nothing to train dense on: it has no guided pairs of the train split; make and label more"
    ):
        dataset(project)
    plant_pair(project, 0)
    plant_pair(project, 1)
    plant_pair(project, 2, latents=False)
    give_labels(project, plant_pair(project, 3), "tie", "tie", whole="tie", segment_seconds=QUARTER)
    reasons = {"2 unlabelled", "1 without latents", "1 with at most 20% non-tie segments"}
    with pytest.raises(UserError) as raised:
        dataset(project)
    assert set(str(raised.value).split("on: ")[1].split("; ")[0].split(", ")) == reasons
    with pytest.raises(UserError, match="nothing to train structural on") as raised:
        dataset(project, method="structural")
    assert "2 without a whole-video label" in str(raised.value)
    assert "1 tied" in str(raised.value)


def test_the_fingerprint_follows_labels_and_latents(project: Project) -> None:
    pair = plant_pair(project, 0)
    give_labels(project, pair, "a", segment_seconds=QUARTER)
    before = dataset(project).fingerprint
    assert dataset(project).fingerprint == before
    give_labels(project, pair, "", "b", segment_seconds=QUARTER)
    assert dataset(project).fingerprint != before


@pytest.mark.parametrize(("count", "batch"), [(5, 3), (3, 5), (4, 4)])
def test_every_epoch_sees_each_pair_once_in_a_fresh_order(count: int, batch: int) -> None:
    steps = [batch_order(count, batch, step, seed=0) for step in range(count * 4)]
    positions = [index for step in steps for _, index in step]
    assert [epoch for step in steps for epoch, _ in step] == [place // count for place in range(count * 4 * batch)]
    epochs = [tuple(positions[start : start + count]) for start in range(0, len(positions), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len(set(epochs)) > 2
    assert batch_order(count, batch, 2, seed=0) == steps[2]
    assert [batch_order(count, batch, step, seed=1) for step in range(count * 4)] != steps


class OneExpert:
    """A model that works at all noise levels."""


MODEL: Any = OneExpert()


def slots(*keys: Any, stratum: tuple[int, int] | None = None) -> list[Slot]:
    nothing = np.zeros(1)
    example = Example("id", "prompt", Path("file"), ("a", "b"), nothing, nothing, 0, 0.0, Shape(9, 48, 48), nothing)
    return [Slot(0, example, key if isinstance(key, tuple) else (0, key), stratum) for key in keys]


def levels(chosen: list[Slot], **settings: Any) -> Tensor:
    return draw_sigma(chosen, (), TrainSettings(**settings), MODEL)


def test_training_sigmas_are_logit_normal_and_then_shifted() -> None:
    many, shape = slots(*map(str, range(4000))), {"timestep_mean": 0.5, "timestep_std": 2.0}
    plain = levels(many, **shape)
    logit = torch.logit(plain.double())
    assert logit.mean().item() == pytest.approx(0.5, abs=5 * 2 / 4000**0.5)
    assert logit.std().item() == pytest.approx(2.0, abs=0.12)
    torch.testing.assert_close(levels(many, **shape, timestep_shift=5.0), 5 * plain / (1 + 4 * plain))
    assert torch.equal(levels(many[7:8], **shape), plain[7:8])
    assert not torch.equal(levels(slots(*((1, str(number)) for number in range(4000))), **shape), plain)


def test_training_may_keep_to_a_range_of_noise_levels() -> None:
    many = slots(*map(str, range(4000)))
    everywhere, inside = (
        levels(many, timestep_shift=2.0),
        levels(many, timestep_shift=2.0, sigma_low=0.5, sigma_high=0.8),
    )
    assert inside.min() >= 0.5 and inside.max() < 0.8
    expected = everywhere[(everywhere >= 0.5) & (everywhere < 0.8)]  # the same distribution, cut
    for share in (0.25, 0.5, 0.75):
        assert inside.quantile(share).item() == pytest.approx(expected.quantile(share).item(), abs=0.01)


def test_strata_spread_a_batch_evenly(project: Project) -> None:
    for number in range(3):
        give_labels(project, plant_pair(project, number), "a", "b", segment_seconds=QUARTER)
    settings = TrainSettings(batch=8, stratified=True)
    for step in range(3):
        drawn = torch.special.ndtr(
            torch.logit(draw_sigma(slots_of(dataset(project), step, settings), (), settings, MODEL))
        )
        assert (drawn * 8).long().sort().values.tolist() == list(range(8))


def test_fixed_draws_come_back_every_k_epochs(project: Project) -> None:
    for number in range(4):
        give_labels(project, plant_pair(project, number), "a", "b", segment_seconds=QUARTER)
    settings, data = TrainSettings(batch=4, reference_draws=3, stratified=True), dataset(project)
    epochs = [sorted((s.example.id, s.key, s.stratum) for s in slots_of(data, step, settings)) for step in range(6)]
    assert epochs[:3] == epochs[3:]
    keys = {key for epoch in epochs for _, key, _ in epoch}
    assert keys == {(f"draw {k}", e.id) for k in range(3) for e in examples(data)}
    for example in examples(data):  # each third of the noise levels once
        assert {stratum for epoch in epochs[:3] for id, _, stratum in epoch if id == example.id} == {
            (0, 3),
            (1, 3),
            (2, 3),
        }


def test_noise_is_shared_by_both_members_unless_switched_off() -> None:
    shape = (2, 3, 4, 4)
    a, b = draw_noise(slots("x", "y"), shape, TrainSettings())
    assert torch.equal(a, b)
    alone, other = draw_noise(slots("x", "y"), shape, TrainSettings(shared_noise=False))
    assert torch.equal(alone, a)
    assert (other - a).abs().mean(dim=(1, 2, 3, 4)).min() > 0.5
    assert torch.equal(draw_noise(slots("y"), shape, TrainSettings())[0][0], a[1])
    assert not torch.equal(draw_noise(slots((1, "x")), shape, TrainSettings())[0][0], a[0])


def test_noise_levels_may_weigh() -> None:
    sigma = torch.tensor([0.25, 0.75])
    assert sigma_weights(sigma, TrainSettings()).tolist() == [1, 1]
    assert sigma_weights(sigma, TrainSettings(sigma_weight="sigma")).tolist() == [0.25, 0.75]
    assert sigma_weights(sigma, TrainSettings(sigma_weight="one-minus-sigma")).tolist() == [0.75, 0.25]


def test_beta_in_units_of_sums() -> None:
    shape = (4, 3, 2, 5)  # 40 elements a latent frame, 120 a video
    assert TrainSettings(beta=500.0).beta_mean(shape) == 500
    assert TrainSettings(beta=2.0, beta_unit="sum").beta_mean(shape) == 80
    assert TrainSettings(beta=2.0, beta_unit="sum", method="structural").beta_mean(shape) == 240


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma_low": 0.7, "sigma_high": 0.6}, "sigma_low 0.7 must lie below sigma_high 0.6"),
        ({"timesteps": "model", "sigma_low": 0.1}, "leave timesteps as it is"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing belongs to the sigmoid loss"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainSettings(**settings)
