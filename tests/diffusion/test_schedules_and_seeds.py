"""Noise levels, the noising process, and randomness by key."""

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from densedpo.diffusion.process import RectifiedFlow
from densedpo.diffusion.schedule import eta_of_step_fraction, starting_at, step_fraction
from densedpo.diffusion.seeds import noise, seed_of, uniform
from densedpo.errors import UserError
from small_projects import model_at

SIGMAS = torch.tensor([1.0, 0.9, 0.75, 0.5, 0.0])


@pytest.mark.parametrize("steps", [1, 4, 40])
def test_the_schedule_is_that_of_diffusers(random_wan_folder: Path, steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(random_wan_folder, subfolder="scheduler")
    scheduler.set_timesteps(steps)
    sigmas = model_at(random_wan_folder).sigmas(steps)
    assert sigmas.dtype == torch.float32
    assert torch.equal(sigmas, scheduler.sigmas)
    assert (sigmas[0].item(), sigmas[-1].item(), len(sigmas)) == (1.0, 0.0, steps + 1)


def test_asking_for_one_schedule_does_not_change_the_next(random_wan_folder: Path) -> None:
    model = model_at(random_wan_folder)
    first = model.sigmas(7)
    model.sigmas(3)
    assert torch.equal(model.sigmas(7), first)


@pytest.mark.parametrize(
    ("eta", "expected"),
    [(0.8, [0.8, 0.75, 0.5, 0.0]), (0.75, [0.75, 0.5, 0.0]), (0.1, [0.1, 0.0]), (1.0, [1.0, 0.9, 0.75, 0.5, 0.0])],
)
def test_a_guided_schedule_starts_at_eta_itself_and_goes_on_below(eta: float, expected: list[float]) -> None:
    assert torch.equal(starting_at(SIGMAS, eta), torch.tensor(expected))


@pytest.mark.parametrize("eta", [0.0, -0.5, 1.01])
def test_eta_must_be_a_noise_level_of_the_model(eta: float) -> None:
    with pytest.raises(UserError, match=rf"eta {eta:g} is not a noise level of this model: .* above 0 and at most 1"):
        starting_at(SIGMAS, eta)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_step_fraction_and_sigma_are_each_others_inverse(kept: int) -> None:
    eta = eta_of_step_fraction(SIGMAS, kept / 4)
    assert eta == SIGMAS[4 - kept].item()
    assert step_fraction(SIGMAS, eta) == kept / 4
    assert len(starting_at(SIGMAS, eta)) == kept + 1


def test_an_eta_between_two_levels_costs_one_step_more_than_the_level_below() -> None:
    assert step_fraction(SIGMAS, 0.6) == 0.5
    assert step_fraction(SIGMAS, 0.75) == 0.5


@pytest.mark.parametrize("fraction", [0.1, 1.2])
def test_a_step_fraction_that_leaves_no_step_or_too_many_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match=rf"eta {fraction:g} as a share of 4 steps .* between 0.25 and 1"):
        eta_of_step_fraction(SIGMAS, fraction)


def test_one_step_with_the_target_itself_recovers_the_clip_exactly() -> None:
    """Eighths and powers of two, so that floating point has nothing to round."""
    clean = torch.randint(-8, 8, (3, 2, 2, 2, 2), generator=torch.Generator().manual_seed(0)) / 8
    eps = torch.randint(-8, 8, (3, 2, 2, 2, 2), generator=torch.Generator().manual_seed(1)) / 8
    sigma, process = torch.tensor([0.25, 0.5, 1.0]), RectifiedFlow()
    noisy = process.add_noise(clean, eps, sigma)
    assert torch.equal(noisy[2], eps[2])
    assert torch.equal(noisy[1], (clean[1] + eps[1]) / 2)
    target = process.target(clean, eps, sigma)
    assert torch.equal(process.step(noisy, target, sigma, torch.zeros(3)), clean)


def test_a_step_between_two_levels_lands_where_the_clip_noised_to_the_second_lies() -> None:
    clean, eps = noise((2, 1, 2, 3, 3), "clean").double(), noise((2, 1, 2, 3, 3), "eps").double()
    high, low, process = torch.tensor([0.9, 0.6]).double(), torch.tensor([0.3, 0.5]).double(), RectifiedFlow()
    stepped = process.step(process.add_noise(clean, eps, high), process.target(clean, eps, high), high, low)
    torch.testing.assert_close(stepped, process.add_noise(clean, eps, low), rtol=0, atol=1e-15)


def test_draws_are_functions_of_their_key_alone() -> None:
    one, other = noise((2, 3), 0, "pair", "x"), noise((2, 3), 0, "pair", "y")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert torch.equal(noise((2, 3), 0, "pair", "y"), other)  # the other order, another global state
    assert torch.equal(noise((2, 3), 0, "pair", "x"), one)
    assert uniform(0, 1, "a") == uniform(0, 1, "a")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(one, other)


def test_draws_stay_the_same_from_version_to_version() -> None:
    """Pairs are remade, and runs resumed, years later."""
    assert seed_of(0, "noise", "pair", 3) == 5109674096911926576
    assert noise((2,), 0, "noise").tolist() == pytest.approx([-1.6451091, -0.1576498], abs=1e-6)


def test_keys_that_only_look_alike_differ() -> None:
    keys = [(1, 23), (12, 3), ("1", 23), (1, "23"), (123,), (1, 23, None), (1.0, 23), (True, 23)]
    assert len({seed_of(*key) for key in keys}) == len(keys)
    assert all(0 <= seed_of(*key) < 2**63 for key in keys)


def test_uniform_draws_fill_their_range_evenly() -> None:
    drawn = [uniform(0.65, 0.8, "eta", i) for i in range(2000)]
    assert 0.65 <= min(drawn) < 0.651
    assert 0.799 < max(drawn) < 0.8
    assert sum(drawn) / 2000 == pytest.approx(0.725, abs=5 * 0.15 / (12 * 2000) ** 0.5)
    assert uniform(0.7, 0.7, "eta") == 0.7
