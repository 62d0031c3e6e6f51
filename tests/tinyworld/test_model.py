"""The tiny model that ships: genuine, small, and good enough to learn from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.evaluation.prompts import held_out
from densedpo.models.load import load_model, model_folder
from densedpo.tinyworld.oracle import score_clip

FOLDER: Path = model_folder("tinyworld")


def test_it_is_small_and_holds_no_pickles() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16 * 2**20
    assert {path.suffix for path in files} <= {".safetensors", ".json"}


def test_diffusers_loads_and_samples_it_and_ours_is_equal() -> None:
    caption = "a red circle moves horizontally on a black background"
    model = load_model("tinyworld")
    start = noise(model.latent_shape(33, 48, 48), "test")[None]
    pipeline = WanPipeline.from_pretrained(FOLDER, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        caption,
        height=48,
        width=48,
        num_frames=33,
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=start,
        max_sequence_length=24,
        output_type="latent",
    ).frames
    positive, negative = model.encode_text([caption]), model.encode_text([""])
    ours = sample(model, start, [model.sigmas(4)], positive, negative, 3.0)
    assert torch.linalg.norm(ours - theirs) <= 1e-5 * torch.linalg.norm(theirs)


@pytest.fixture(scope="module")
def scored() -> list:  # type: ignore[type-arg]
    """Sixteen held-out captions, drawn and scored."""
    model, captions = load_model("tinyworld"), held_out()[:16]
    start = torch.stack([noise(model.latent_shape(33, 48, 48), "test", caption) for caption in captions])
    schedule = [model.sigmas(model.defaults.steps)] * len(captions)
    positive, negative = model.encode_text(captions), model.encode_text([""] * len(captions))
    videos = model.decode(sample(model, start, schedule, positive, negative, model.defaults.guidance))
    return [score_clip(video, caption) for video, caption in zip(videos, captions, strict=True)]


def test_it_draws_what_the_caption_says_most_of_the_time(scored: list) -> None:  # type: ignore[type-arg]
    for aspect in ("colour", "background"):
        assert np.mean([clip.details[aspect] for clip in scored]) >= 0.9, aspect
    assert np.mean([clip.details["shape"] for clip in scored]) >= 0.5
    assert np.mean([clip.whole.text_alignment for clip in scored]) >= 0.7


def test_it_moves(scored: list) -> None:  # type: ignore[type-arg]
    assert np.median([clip.whole.dynamic_degree for clip in scored]) >= 0.15  # pixels a frame; of real clips 0.2 or so
