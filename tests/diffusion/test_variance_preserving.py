"""The variance-preserving process, against diffusers' scheduler with the settings of CogVideoX 2B and 5B."""

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler

from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.diffusion.variance_preserving import VariancePreserving

SHAPE = (4, 2, 3, 4, 4)
CLEAN, NOISE = noise(SHAPE, "clean"), noise(SHAPE, "noise")
TIMESTEPS = torch.tensor([0, 137, 800, 999])


@pytest.fixture(params=[1.0, 3.0])
def scheduler(request: pytest.FixtureRequest) -> CogVideoXDDIMScheduler:
    return CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=request.param,
        timestep_spacing="trailing",
    )


@pytest.fixture
def process(scheduler: CogVideoXDDIMScheduler) -> VariancePreserving:
    return VariancePreserving(scheduler.alphas_cumprod)


def test_sigma_is_defined_by_signal_to_noise(scheduler: CogVideoXDDIMScheduler, process: VariancePreserving) -> None:
    sigma, abar = process.levels_N[:-1].double(), scheduler.alphas_cumprod[:-1]
    torch.testing.assert_close(sigma / (1 - sigma), ((1 - abar) / abar).sqrt(), rtol=1e-4, atol=0)
    assert process.levels_N[-1] == 1  # no signal is left at the last timestep
    assert (process.levels_N.diff() > 0).all()


def test_noising_and_velocity_are_the_schedulers(
    scheduler: CogVideoXDDIMScheduler, process: VariancePreserving
) -> None:
    sigma = process.levels_N[TIMESTEPS]
    torch.testing.assert_close(
        process.add_noise(CLEAN, NOISE, sigma), scheduler.add_noise(CLEAN, NOISE, TIMESTEPS), rtol=0, atol=2e-6
    )
    torch.testing.assert_close(
        process.target(CLEAN, NOISE, sigma), scheduler.get_velocity(CLEAN, NOISE, TIMESTEPS), rtol=0, atol=2e-6
    )


def test_a_step_is_ddims(scheduler: CogVideoXDDIMScheduler, process: VariancePreserving) -> None:
    scheduler.set_timesteps(5)
    sigmas = torch.cat([process.levels_N[scheduler.timesteps], torch.zeros(1)])
    for i, timestep in enumerate(scheduler.timesteps):
        ours = process.step(CLEAN, NOISE, sigmas[i].expand(4), sigmas[i + 1].expand(4))
        theirs = scheduler.step(NOISE, timestep, CLEAN).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_as_much_noise_as_in_a_rectified_flow_at_the_same_sigma(process: VariancePreserving) -> None:
    """Worked by hand: at sigma 3/4 there is three times as much noise as clip, and their squares sum to 1."""
    ones, zeros, sigma = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), torch.tensor([0.75])
    signal, noised = process.add_noise(ones, zeros, sigma).item(), process.add_noise(zeros, ones, sigma).item()
    assert noised / signal == pytest.approx(3, rel=0.01)  # the nearest level, not 3/4 itself
    assert noised**2 + signal**2 == pytest.approx(1, abs=1e-6)


def test_every_level_is_its_own_timestep_and_others_go_to_the_nearest(process: VariancePreserving) -> None:
    assert process.timestep(process.levels_N).tolist() == list(range(1000))
    assert torch.equal(process.nearest(process.levels_N), process.levels_N)
    for sigma in torch.rand(50, generator=torch.Generator().manual_seed(0)):
        distance = (process.levels_N - sigma).abs()
        assert distance[process.timestep(sigma)] == distance.min()
    assert process.nearest(torch.tensor([0.0, 1e-6, 1.0])).tolist() == [0, process.levels_N[0].item(), 1]


def test_a_clip_noised_to_any_eta_holds_exactly_the_noise_that_the_network_is_told(
    scheduler: CogVideoXDDIMScheduler, process: VariancePreserving
) -> None:
    scheduler.set_timesteps(50)
    sigmas = torch.cat([process.levels_N[scheduler.timesteps], torch.zeros(1)])
    for eta in (0.65, 0.7123, 0.8):
        first = starting_at(sigmas, eta)[:1]
        told = process.timestep(first)
        level = process.nearest(first)
        assert abs(level.item() - eta) < process.levels_N.diff().max()
        ours = process.add_noise(CLEAN[:1], NOISE[:1], first)
        torch.testing.assert_close(ours, scheduler.add_noise(CLEAN[:1], NOISE[:1], told), rtol=0, atol=1e-6)
        assert torch.equal(ours, process.add_noise(CLEAN[:1], NOISE[:1], level))


def test_sigma_0_is_the_clip_and_sigma_1_the_noise(process: VariancePreserving) -> None:
    assert torch.equal(process.add_noise(CLEAN, NOISE, torch.zeros(4)), CLEAN)
    assert torch.equal(process.add_noise(CLEAN, NOISE, torch.ones(4)), NOISE)
    assert torch.equal(process.target(CLEAN, NOISE, torch.ones(4)), -CLEAN)


def test_the_target_leads_back_to_the_clip_in_one_step_from_anywhere(process: VariancePreserving) -> None:
    sigma = torch.tensor([1.0, 0.9, 0.5, 0.1])
    noisy, target = process.add_noise(CLEAN, NOISE, sigma), process.target(CLEAN, NOISE, sigma)
    torch.testing.assert_close(process.step(noisy, target, sigma, torch.zeros(4)), CLEAN, rtol=0, atol=1e-6)
