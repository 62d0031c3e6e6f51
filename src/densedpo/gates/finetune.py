"""A short supervised fine-tuning on real clips. A base that has converged gains nothing from it.

Shapes: B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from densedpo.diffusion.protocol import VideoModel
from densedpo.diffusion.seeds import generator, noise
from densedpo.gates.samples import SEED, Guides
from densedpo.models.lora import fresh_adapter
from densedpo.progress import track
from densedpo.training.settings import TrainSettings

BATCH = 8


@contextmanager
def finetuned(model: VideoModel, clips: Guides, steps: int) -> Iterator[None]:
    """The model with an adapter trained on real clips, for as long as the block lasts.

    Adapter, optimiser, learning rate, its warmup and the clipping of gradients are the training stage's defaults; the
    loss is the mean squared error of the velocity (flow matching, arXiv 2210.02747), the noise level logit-normal.
    """
    settings = TrainSettings(steps=steps, batch=BATCH)
    text = model.encode_text(clips.captions)
    with fresh_adapter(model.denoiser, model.lora_targets, settings.rank, settings.rank, SEED) as parameters:
        optimiser = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        for step in track(range(steps), description="fine-tuning on real clips"):
            chosen_B = torch.randint(len(clips.captions), (BATCH,), generator=generator(SEED, "chosen", step))
            clean_BCFHW = clips.latents_PCFHW[chosen_B]
            eps_BCFHW = noise(tuple(clean_BCFHW.shape), SEED, "noise", step)
            sigma_B = torch.sigmoid(noise((BATCH,), SEED, "sigma", step))
            noisy_BCFHW = model.process.add_noise(clean_BCFHW, eps_BCFHW, sigma_B)
            target_BCFHW = model.process.target(clean_BCFHW, eps_BCFHW, sigma_B)
            prediction_BCFHW = model.predict(noisy_BCFHW, sigma_B, text.take(chosen_B))
            loss = (prediction_BCFHW - target_BCFHW).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * min(1.0, (step + 1) / max(settings.warmup, 1))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        yield
