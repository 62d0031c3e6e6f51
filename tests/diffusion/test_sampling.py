"""The sampler, against `WanPipeline` and against a model that knows the answer."""

from pathlib import Path

import pytest
import torch
from oracle_model import OracleModel, as_video_model, towards

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.sampler import guided_prediction, sample
from densedpo.diffusion.schedule import starting_at
from densedpo.diffusion.seeds import noise
from small_projects import model_at, pipeline_at

PROMPTS = ["a red circle moves left", "a blue square moves down"]
SHAPE = (8, 3, 6, 6)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_samples_equal_those_of_the_diffusers_pipeline(random_wan_folder: Path, guidance: float) -> None:
    start = torch.stack([noise(SHAPE, "start", i) for i in range(2)])
    theirs = pipeline_at(random_wan_folder)(
        prompt=PROMPTS,
        negative_prompt="a green star",
        latents=start.clone(),
        num_inference_steps=5,
        guidance_scale=guidance,
        height=48,
        width=48,
        num_frames=9,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    model = model_at(random_wan_folder)
    positive, negative = model.encode_text(PROMPTS), model.encode_text(["a green star"] * 2)
    ours = sample(model, start, [model.sigmas(5)] * 2, positive, negative, guidance)
    assert (theirs - start).abs().max() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_members_with_schedules_of_other_lengths_come_out_as_if_sampled_alone(random_wan_folder: Path) -> None:
    model = model_at(random_wan_folder)
    start = torch.stack([noise(SHAPE, "start", i) for i in range(4)])
    schedules = [
        model.sigmas(4),
        starting_at(model.sigmas(4), 0.7),
        starting_at(model.sigmas(12), 0.55),
        model.sigmas(2),
    ]
    assert len({len(schedule) for schedule in schedules}) == 4
    positive = model.encode_text([*PROMPTS, *PROMPTS])
    negative = model.encode_text([""] * 4)
    together = sample(model, start, schedules, positive, negative, 3.0)
    for i, schedule in enumerate(schedules):
        alone = sample(model, start[i : i + 1], [schedule], positive.take([i]), negative.take([i]), 3.0)
        assert (together[i] - alone[0]).abs().max() <= 1e-5 * alone.abs().max()


def test_a_model_that_knows_the_clip_leads_every_sample_to_its_own() -> None:
    clips, eps = noise((2, 1, 2, 3, 3), "clips").double(), noise((3, 1, 2, 3, 3), "eps").double()
    schedules = [torch.tensor(s, dtype=torch.float64) for s in ([1.0, 0.6, 0.0], [0.7, 0.0], [0.9, 0.8, 0.3, 0.0])]
    model = OracleModel(clips)
    first = torch.stack([schedule[0] for schedule in schedules])
    start = model.process.add_noise(clips[[0, 1, 0]], eps, first)
    kept = start.clone()
    end = sample(as_video_model(model), start, schedules, towards(0, 1, 0), towards(0, 0, 0), 1.0)
    torch.testing.assert_close(end, clips[[0, 1, 0]], rtol=0, atol=1e-14)
    assert model.calls == [[0.9], [1.0, 0.8], [0.6, 0.7, 0.3]]  # each joins so that all end together
    assert torch.equal(start, kept)


def test_guidance_moves_from_the_unconditional_prediction_through_the_conditional_one() -> None:
    """At sigma 1 from zeros the prediction is minus the clip: -2 with the prompt, -1 without."""
    model = OracleModel(torch.stack([torch.ones(1, 1, 1, 1), 2 * torch.ones(1, 1, 1, 1)]))
    zeros, sigma = torch.zeros(1, 1, 1, 1, 1), torch.ones(1)

    def predicted(guidance: float) -> float:
        return guided_prediction(as_video_model(model), zeros, sigma, towards(1), towards(0), guidance).item()

    assert predicted(3.0) == -1 + 3 * (-2 - -1)
    assert predicted(1.5) == -1 + 1.5 * (-2 - -1)
    assert predicted(1.0) == predicted(0.0) == -2
    assert [len(call) for call in model.calls] == [
        2,
        2,
        1,
        1,
    ]  # both branches in one forward; no guidance, half the work


def test_conditioning_rows_can_be_taken_repeated_and_joined() -> None:
    rows = Conditioning({"text": torch.arange(6.0).view(3, 2), "mask": torch.tensor([1, 2, 3])})
    assert len(rows) == 3
    taken = Conditioning.cat([rows.take([2, 0, 2]), rows.take(torch.tensor([1]))])
    assert taken.tensors["mask"].tolist() == [3, 1, 3, 2]
    assert taken.tensors["text"].tolist() == [[4, 5], [0, 1], [4, 5], [2, 3]]
