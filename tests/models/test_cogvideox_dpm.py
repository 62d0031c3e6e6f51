"""CogVideoX's stochastic sampler, against the pipeline with diffusers' own scheduler and the same noise."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXDPMScheduler
from diffusers.schedulers import scheduling_dpm_cogvideox
from family_checks import relative_error
from model_folders import variant
from tiny_cogvideox import PROMPTS, clips, diffusers_pipeline, loaded, random_cogvideox, starts, theirs

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.samplers import sampler_name, sampler_of
from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from densedpo.models.cogvideox import CogVideoXModel
from densedpo.pairs.generate import generate_pairs


@pytest.fixture(scope="module", params=["5b", "1.5"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model as its makers would publish it with this scheduler."""
    root = tmp_path_factory.mktemp("cogvideox")
    plain = random_cogvideox(root / "plain", request.param)
    return variant(plain, root / "dpm", "model_index.json", scheduler=["diffusers", "CogVideoXDPMScheduler"])


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVideoXModel:
    return loaded(folder)


def drawn(model: CogVideoXModel, start: torch.Tensor, schedule: torch.Tensor, keys: list[tuple[int]]) -> torch.Tensor:
    count = len(start)
    positive, negative = model.encode_text(PROMPTS[:count]), model.encode_text([""] * count)
    sampler = sampler_of(model, "official")
    return sample(model, start, [schedule] * count, positive, negative, 3.0, sampler=sampler, keys=keys)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_the_official_sampler_equals_the_pipeline(
    model: CogVideoXModel, folder: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That scheduler draws its noise once or twice a step and uses the last; here each draw is ours of that step."""
    pipeline = diffusers_pipeline(folder)
    assert isinstance(pipeline.scheduler, CogVideoXDPMScheduler)
    assert sampler_name(model, "official") == "sde-dpm++"
    now = -1
    real = pipeline.scheduler.step

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal now
        now += 1
        return real(*given, **named)

    def ours_of_that_step(shape: torch.Size, **_: Any) -> torch.Tensor:
        frames, channels, height, width = shape[1:]
        size = (channels, frames, height, width)
        return torch.stack([noise(size, 7 + row, "step", now) for row in range(shape[0])]).transpose(1, 2)

    monkeypatch.setattr(pipeline.scheduler, "step", counted)
    monkeypatch.setattr(scheduling_dpm_cogvideox, "randn_tensor", ours_of_that_step)
    start = starts(model)
    expected = theirs(pipeline, start, steps, 3.0).transpose(1, 2)
    assert relative_error(drawn(model, start, model.sigmas(steps), [(7,), (8,)]), expected) <= 1e-5


def test_noise_is_keyed_by_the_member_and_not_by_its_place(model: CogVideoXModel) -> None:
    start, schedule = starts(model), starting_at(model.sigmas(10), 0.71, multistep=True)
    both = drawn(model, start, schedule, [(1,), (2,)])
    assert torch.equal(drawn(model, start, schedule, [(1,), (2,)]), both)
    alone = drawn(model, start[:1], schedule, [(1,)])
    assert relative_error(alone[0], both[0]) <= 1e-5
    assert relative_error(drawn(model, start[:1], schedule, [(2,)])[0], both[0]) > 0.01


def test_a_pair_is_a_function_of_its_recipe(model: CogVideoXModel) -> None:
    """Made again, and made among others; its members draw noise of their own."""
    size = {"frames": 9, "height": 32, "width": 48}
    how = {"mode": "independent", "sampler": "sde-dpm++", "steps": 4, "guidance": 3.0}
    recipes = [size | how | {"seed_a": 10 + i, "seed_b": 20 + i} for i in range(2)]
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["", ""])
    once, again = (generate_pairs(model, recipes, None, positive, negative) for _ in range(2))
    assert torch.equal(once.latents_a, again.latents_a)
    assert torch.equal(once.latents_b, again.latents_b)
    alone = generate_pairs(model, recipes[1:], None, positive.take([1]), negative.take([1]))
    assert relative_error(alone.latents_b[0], once.latents_b[1]) <= 1e-5
    twins = [recipes[0] | {"seed_b": recipes[0]["seed_a"]}]
    same = generate_pairs(model, twins, None, positive.take([0]), negative.take([0]))
    assert relative_error(same.latents_b, same.latents_a) <= 1e-5


def test_the_target_fed_to_the_sampler_recovers_the_clip(
    model: CogVideoXModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise that is added on the way changes the target, and is gone at the end."""
    clean = model.encode(clips())

    def knowing(noisy: torch.Tensor, sigma: torch.Tensor, _: object) -> torch.Tensor:
        a, s = (scale.float().view(-1, 1, 1, 1, 1) for scale in model.process.scales(sigma))
        return model.process.target(clean, (noisy - a * clean) / s, sigma)

    monkeypatch.setattr(model, "predict", knowing)
    eps, schedule = noise(tuple(clean.shape), "eps"), starting_at(model.sigmas(10), 0.71, multistep=True)
    start = model.process.add_noise(clean, eps, schedule[:1].expand(2))
    positive = negative = model.encode_text(PROMPTS)
    sampler = sampler_of(model, "sde-dpm++")
    end = sample(model, start, [schedule] * 2, positive, negative, 1.0, sampler=sampler, keys=[(1,), (2,)])
    torch.testing.assert_close(end, clean, rtol=0, atol=1e-5)
