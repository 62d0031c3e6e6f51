"""Which pairs are learned from, in which order, with which draws."""

from pathlib import Path
from typing import Any

import pytest
import torch

from densedpo.errors import UserError
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.data import Dataset, batch_order, load_dataset
from densedpo.training.errors import draw_noise, draw_sigma
from small_projects import empty_project, give_labels, plant_pair

QUARTER = 0.25  # two frames a segment: five segments


@pytest.fixture
def project(tmp_path: Path, random_wan_folder: Path) -> Project:
    return empty_project(tmp_path / "project", random_wan_folder, segment_seconds=QUARTER)


def dataset(project: Project, **settings: Any) -> Dataset:
    return load_dataset(project, 4, TrainSettings(**settings))


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
    assert len(found.examples) == 1 + kept
    assert found.left_out == ({} if kept else {"with at most 20% non-tie segments": 1})


def test_how_many_ties_are_too_many_is_a_setting(project: Project) -> None:
    give_labels(project, plant_pair(project, 0), "a", "tie", "tie", "tie", "tie", segment_seconds=QUARTER)
    assert len(dataset(project, minimum_nontie=0.1).examples) == 1


def test_an_example_is_what_the_labels_say(project: Project) -> None:
    give_labels(project, plant_pair(project, 0), "a", "b", "", "skip", "tie", whole="b", segment_seconds=QUARTER)
    (example,) = dataset(project).examples
    assert example.sign_S.tolist() == [1, -1, 0, 0, 0]
    assert example.weight_S.tolist() == [1, 1, 0, 0, 1]
    assert (example.video_sign, example.video_weight) == (-1, 1.0)


def test_each_method_takes_its_own_kind_of_pair(project: Project) -> None:
    for number, mode in ((0, "guided"), (1, "independent")):
        pair = plant_pair(project, number, mode)
        give_labels(project, pair, "a", "b", whole="a", segment_seconds=QUARTER)
    modes = {method: dataset(project, method=method).examples[0].pair.mode for method in ("dense", "structural")}
    assert modes == {"dense": "guided", "structural": "guided"}
    assert [example.pair.mode for example in dataset(project, method="vanilla").examples] == ["independent"]


def test_only_the_chosen_annotators_count(project: Project) -> None:
    pair = plant_pair(project, 0)
    give_labels(project, pair, "a", segment_seconds=QUARTER, annotator="ann")
    give_labels(project, pair, "b", segment_seconds=QUARTER, annotator="bob")
    assert dataset(project, annotators=("bob",)).examples[0].sign_S[0] == -1
    assert dataset(project, annotators=("ann",)).examples[0].sign_S[0] == 1


def test_nothing_to_train_on_names_the_reasons_with_their_counts(project: Project) -> None:
    with pytest.raises(UserError, match="has nothing to train dense on: it has no guided pairs; make and label more"):
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
    before = dataset(project).fingerprint()
    assert dataset(project).fingerprint() == before
    give_labels(project, pair, "", "b", segment_seconds=QUARTER)
    assert dataset(project).fingerprint() != before


@pytest.mark.parametrize(("count", "batch"), [(5, 3), (3, 5), (4, 4)])
def test_every_epoch_sees_each_pair_once_in_a_fresh_order(count: int, batch: int) -> None:
    steps = [batch_order(count, batch, step, seed=0) for step in range(count * 4)]
    positions = [index for step in steps for index in step]
    epochs = [tuple(positions[start : start + count]) for start in range(0, len(positions), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len(set(epochs)) > 2
    assert batch_order(count, batch, 2, seed=0) == steps[2]
    assert [batch_order(count, batch, step, seed=1) for step in range(count * 4)] != steps


class OneExpert:
    """A model that works at all noise levels."""


MODEL: Any = OneExpert()


def test_training_sigmas_are_logit_normal_and_then_shifted() -> None:
    keys = [str(number) for number in range(4000)]
    plain = draw_sigma(keys, (), 0, TrainSettings(timestep_mean=0.5, timestep_std=2.0), MODEL)
    logit = torch.logit(plain.double())
    assert logit.mean().item() == pytest.approx(0.5, abs=5 * 2 / 4000**0.5)
    assert logit.std().item() == pytest.approx(2.0, abs=0.12)
    shifted = draw_sigma(keys, (), 0, TrainSettings(timestep_mean=0.5, timestep_std=2.0, timestep_shift=5.0), MODEL)
    torch.testing.assert_close(shifted, 5 * plain / (1 + 4 * plain))
    assert torch.equal(
        draw_sigma(keys[7:8], (), 0, TrainSettings(timestep_mean=0.5, timestep_std=2.0), MODEL), plain[7:8]
    )
    assert not torch.equal(draw_sigma(keys, (), 1, TrainSettings(timestep_mean=0.5, timestep_std=2.0), MODEL), plain)


def test_noise_is_shared_by_both_members_unless_switched_off() -> None:
    shape = (2, 3, 4, 4)
    a, b = draw_noise(["x", "y"], shape, 0, TrainSettings())
    assert torch.equal(a, b)
    alone, other = draw_noise(["x", "y"], shape, 0, TrainSettings(shared_noise=False))
    assert torch.equal(alone, a)
    assert (other - a).abs().mean(dim=(1, 2, 3, 4)).min() > 0.5
    assert torch.equal(draw_noise(["y"], shape, 0, TrainSettings())[0][0], a[1])
    assert not torch.equal(draw_noise(["x"], shape, 1, TrainSettings())[0][0], a[0])
