"""The stage: what it stores, and that stopping it anywhere changes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from densedpo.errors import UserError
from densedpo.models.encoded import encode_clips
from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings, make
from densedpo.pairs.make import make_pairs, remaining
from densedpo.store.checks import validate
from densedpo.store.project import Project
from densedpo.store.schema import Pair
from densedpo.video.io import read_video
from small_projects import model_at, project_with_clips

SETTINGS = PairSettings(count=5, steps=2, batch=3)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture
def model(random_wan_folder: Path) -> WanModel:
    return model_at(random_wan_folder)


@pytest.fixture(scope="module")
def new_project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    return lambda: project_with_clips(tmp_path_factory.mktemp("stage") / "project", random_wan_folder)


@pytest.fixture(scope="module")
def finished(new_project: Callable[[], Project], random_wan_folder: Path) -> Project:
    """A project in which the stage ran through. Read it only."""
    project = new_project()
    report = make_pairs(project, model_at(random_wan_folder), SETTINGS)
    assert (report.planned, report.made, report.near_identical) == (5, 5, 0)
    return project


def test_rows_and_files_are_whole(finished: Project, model: WanModel) -> None:
    assert validate(finished, deep=True) == []
    for pair in finished.pairs():
        assert (pair.mode, pair.split, pair.eta) == ("guided", "train", pair.recipe["eta"])
        assert (pair.model_hash, pair.vae_hash) == (model.model_hash, model.vae_hash)
        assert pair.prompt == next(clip.caption for clip in finished.clips() if clip.id == pair.clip)
        members = load_file(finished.latents_path(str(pair.latents)))
        assert pair.distance == pytest.approx((members["a"] - members["b"]).abs().mean().item(), rel=1e-6)
    assert len({pair.media_a for pair in finished.pairs()} | {pair.media_b for pair in finished.pairs()}) == 10


def test_each_member_has_its_own_video(finished: Project, model: WanModel) -> None:
    pair = next(finished.pairs())
    members = load_file(finished.latents_path(str(pair.latents)))
    a, b = (model.decode(members[side][None])[0].astype(int) for side in ("a", "b"))
    shown, fps = read_video(finished.media_path(pair.media_a))
    assert (shown.shape, fps) == ((9, 48, 48, 3), 8.0)
    assert np.abs(shown - a).mean() < 0.5 * np.abs(shown - b).mean()


def test_the_same_again_makes_nothing(finished: Project, model: WanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = finished.fingerprint()
    monkeypatch.setattr(model, "predict", None)  # a call would fail
    report = make_pairs(finished, model, SETTINGS)
    assert (report.planned, report.made) == (5, 0)
    assert finished.fingerprint() == before


@pytest.mark.parametrize("stopped", ["in the second batch", "while encoding"])
def test_stopped_and_run_again_it_makes_the_very_same_pairs(
    finished: Project,
    new_project: Callable[[], Project],
    model: WanModel,
    monkeypatch: pytest.MonkeyPatch,
    stopped: str,
) -> None:
    project = new_project()
    if stopped == "while encoding":
        encode_clips(project, model, list(project.clips())[1:2])
    else:
        real, calls = make.generate_pairs, []

        def failing(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(make, "generate_pairs", failing)
        with pytest.raises(KeyboardInterrupt):
            make_pairs(project, model, SETTINGS)
        monkeypatch.undo()
        assert len(list(project.pairs())) == 3
        assert [len(batch) for batch in remaining(project, model, SETTINGS)] == [2]
    make_pairs(project, model, SETTINGS)
    assert project.fingerprint() == finished.fingerprint()  # ids, and digests of videos and latents
    assert validate(project, deep=True) == []


def test_more_pairs_leave_the_first_ones_as_they_are(
    finished: Project, new_project: Callable[[], Project], model: WanModel
) -> None:
    """Batches are cut from the whole plan, so what is made later is computed as it would have been in one go."""
    project = new_project()
    make_pairs(project, model, SETTINGS.model_copy(update={"count": 1}))
    (first,) = project.pairs()
    assert [len(batch) for batch in remaining(project, model, SETTINGS)] == [3, 2]
    assert make_pairs(project, model, SETTINGS).made == 4
    rows = {pair.id: pair for pair in project.pairs()}
    assert rows.pop(first.id) == first
    in_one_go = {pair.id: pair.latents for pair in finished.pairs() if pair.id != first.id}
    assert {pair.id: pair.latents for pair in rows.values()} == in_one_go


def test_independent_pairs_have_no_clip_and_no_eta(new_project: Callable[[], Project], model: WanModel) -> None:
    project = new_project()
    make_pairs(project, model, PairSettings(mode="independent", count=2, steps=2))
    pairs = list(project.pairs(mode="independent"))
    assert [(pair.clip, pair.eta, pair.split) for pair in pairs] == [(None, None, "train")] * 2
    assert validate(project, deep=True) == []


def test_pairs_that_are_closer_than_the_threshold_are_marked(
    new_project: Callable[[], Project], model: WanModel
) -> None:
    project = new_project()
    distances = sorted(pair.distance or 0 for pair in _made(project, model, 0.0))
    between = (distances[0] + distances[1]) / 2
    again = new_project()
    marked = [pair.distance for pair in _made(again, model, between) if pair.near_identical]
    assert marked == distances[:1]
    assert not any(pair.near_identical for pair in project.pairs())


def _made(project: Project, model: WanModel, near_identical: float) -> list[Pair]:
    settings = PairSettings(steps=1, near_identical=near_identical)
    report = make_pairs(project, model, settings)
    pairs = list(project.pairs())
    assert report.near_identical == sum(pair.near_identical for pair in pairs)
    return pairs


def test_only_one_process_makes_pairs(finished: Project, model: WanModel) -> None:
    with finished.lock("pairs"), pytest.raises(UserError, match="pairs is already running"):
        make_pairs(finished, model, SETTINGS)
