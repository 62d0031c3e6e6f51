"""The plan: which pairs, before anything is computed."""

from pathlib import Path
from typing import Any

import pytest

from densedpo.config import load_settings
from densedpo.errors import UserError
from densedpo.models.wan import WanModel
from densedpo.pairs import PairSettings
from densedpo.pairs.recipe import plan, schedule
from densedpo.store.schema import Clip, recipe_id
from small_projects import model_at, project_with_clips


@pytest.fixture(scope="module")
def clips(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return list(project_with_clips(tmp_path_factory.mktemp("recipes"), random_wan_folder).clips())


@pytest.fixture
def model(random_wan_folder: Path) -> WanModel:
    return model_at(random_wan_folder)


def recipes(clips: list[Clip], model: WanModel, **settings: Any) -> list[dict[str, Any]]:
    return [recipe for _, recipe in plan(clips, model, 8.0, PairSettings(**settings))]


def test_a_plan_is_a_function_of_settings_and_clips(clips: list[Clip], model: WanModel) -> None:
    first = recipes(clips, model, count=5)
    assert first == recipes(clips, model, count=5)
    assert first == recipes(clips, model, count=5, batch=1, near_identical=0.5)
    others = recipes(clips, model, count=5, seed=1)
    assert not {recipe_id(recipe) for recipe in first} & {recipe_id(recipe) for recipe in others}


def test_both_members_share_one_eta_and_have_seeds_of_their_own(clips: list[Clip], model: WanModel) -> None:
    planned = recipes(clips, model, count=60)
    assert all(0.65 <= recipe["eta"] < 0.8 for recipe in planned)
    assert [key for key in planned[0] if "eta" in key] == ["eta", "eta_unit", "eta_step_fraction"]
    assert len({recipe["eta"] for recipe in planned}) == 60
    assert len({seed for recipe in planned for seed in (recipe["seed_a"], recipe["seed_b"])}) == 120
    assert len({recipe_id(recipe) for recipe in planned}) == 60


def test_a_longer_plan_begins_with_the_shorter_one_and_takes_each_clip_in_turn(
    clips: list[Clip], model: WanModel
) -> None:
    long = recipes(clips, model, count=7)
    assert recipes(clips, model, count=4) == long[:4]
    assert recipes(clips, model) == long[:3]
    order = [clip.id for clip in clips]
    assert [recipe["clip"] for recipe in long] == [*order, *order, order[0]]
    assert [recipe["prompt"] for recipe in long[:3]] == [clip.caption for clip in clips]


def test_a_new_clip_leaves_the_recipes_of_the_others_alone(clips: list[Clip], model: WanModel) -> None:
    fewer, more = recipes(clips[:2], model, count=4), recipes(clips, model, count=6)
    assert {recipe_id(recipe) for recipe in fewer} < {recipe_id(recipe) for recipe in more}


def test_what_is_not_given_is_the_models_own_and_is_written_down(clips: list[Clip], model: WanModel) -> None:
    recipe = recipes(clips, model)[0]
    assert (recipe["steps"], recipe["guidance"], recipe["negative_prompt"]) == (4, 3.0, "")
    assert (recipe["model"], recipe["vae"], recipe["sampler"]) == (model.model_hash, model.vae_hash, "euler")
    given = recipes(clips, model, steps=9, guidance=0.0, negative_prompt="blurred")[0]
    assert (given["steps"], given["guidance"], given["negative_prompt"]) == (9, 0.0, "blurred")


def test_the_default_recipe_is_what_it_has_always_been(clips: list[Clip], model: WanModel) -> None:
    """Its hash is the pair's id: a key more would make every pair anew."""
    first = recipes(clips, model)[0]
    size = {"frames", "fps", "width", "height"}
    made = {"mode", "model", "vae", "sampler", "steps", "guidance", "negative_prompt", "prompt", "clip"}
    assert first.keys() == size | made | {"seed_a", "seed_b", "eta", "eta_unit", "eta_step_fraction"}
    assert recipes(clips, model, sampler="official")[0] == first  # this checkpoint's own sampler is Euler


def test_another_sampler_draws_the_same_but_makes_another_pair(clips: list[Clip], model: WanModel) -> None:
    euler, unipc = recipes(clips, model)[0], recipes(clips, model, sampler="unipc")[0]
    assert {key for key in euler if euler[key] != unipc[key]} <= {"sampler", "eta_step_fraction"}
    assert recipe_id(euler) != recipe_id(unipc)
    assert schedule(unipc, model)[0].item() == pytest.approx(unipc["eta"])


def test_eta_as_a_share_of_the_steps_is_the_sigma_where_they_begin(clips: list[Clip], model: WanModel) -> None:
    recipe = recipes(clips, model, steps=10, eta_unit="step_fraction", eta_low=0.7, eta_high=0.7)[0]
    assert recipe["eta"] == model.sigmas(10)[3].item()
    assert recipe["eta_step_fraction"] == 0.7
    assert schedule(recipe, model).tolist() == model.sigmas(10)[3:].tolist()


def test_a_guided_pair_starts_at_eta_and_an_independent_one_at_the_top(clips: list[Clip], model: WanModel) -> None:
    guided = recipes(clips, model, eta_low=0.7, eta_high=0.7)[0]
    assert schedule(guided, model)[0].item() == pytest.approx(0.7, abs=1e-7)
    independent = recipes(clips, model, mode="independent")[0]
    assert (independent["clip"], "eta" in independent) == (None, False)
    assert schedule(independent, model).tolist() == model.sigmas(4).tolist()
    assert independent["seed_a"] != guided["seed_a"]


def test_without_clips_there_is_nothing_to_plan(model: WanModel) -> None:
    with pytest.raises(UserError, match=r"there are no clips in the train split: run `densedpo ingest`, or name"):
        recipes([], model)


def test_a_range_the_wrong_way_round_is_told() -> None:
    with pytest.raises(UserError, match=r"eta_low 0\.8 is above eta_high 0\.7: swap them"):
        load_settings(PairSettings, None, {"eta_low": 0.8, "eta_high": 0.7})
