"""A guided member, against diffusers' own video-to-video pipeline started at the same noise level."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanVideoToVideoPipeline

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.schedule import starting_at
from small_projects import model_at, pipeline_at

STEPS, STRENGTH, PROMPT = 6, 0.7, "a red circle moves left"


def test_a_guided_member_equals_the_video_to_video_pipelines_sample(
    random_wan_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = pipeline_at(random_wan_folder).components
    scheduler = type(parts["scheduler"]).from_config(parts["scheduler"].config)
    shared = {name: parts[name] for name in ("tokenizer", "text_encoder", "transformer", "vae")}
    pipeline = WanVideoToVideoPipeline(**shared, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae_scale_factor_spatial = 8  # it counts the autoencoder's halvings and does not know of its patches
    clip = np.random.default_rng(0).integers(0, 256, (9, 48, 48, 3), dtype=np.uint8)
    model = model_at(random_wan_folder)
    text, empty = model.encode_text([PROMPT]), model.encode_text([""])
    theirs = pipeline(
        video=list(clip.astype(np.float32) / 255),
        prompt_embeds=text.tensors["text"],  # given, for this pipeline's own cleaning of prompts needs ftfy
        negative_prompt_embeds=empty.tensors["text"],
        height=48,
        width=48,
        num_inference_steps=STEPS,
        strength=STRENGTH,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).frames

    sigmas = model.sigmas(STEPS)
    eta = sigmas[STEPS - int(STEPS * STRENGTH)].item()  # where that pipeline starts, far above its `strength`
    with capsys.disabled():
        print(f"\nstrength {STRENGTH} of {STEPS} steps starts at sigma {eta:.4f}; an eta of {STRENGTH} at {STRENGTH}")
    assert eta > STRENGTH + 0.1
    eps = torch.randn((1, *model.latent_shape(9, 48, 48)), generator=torch.Generator().manual_seed(5))
    start = model.process.add_noise(model.encode(clip[None]), eps, torch.tensor([eta]))
    ours = sample(model, start, [starting_at(sigmas, eta)], text, empty, 3.0)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    own = starting_at(sigmas, STRENGTH)
    assert own[0].item() == pytest.approx(STRENGTH)
    assert (own[1:] < STRENGTH).all()
