"""CogVideoX checkpoints as published, but tiny and with random weights, one of each kind; and how to sample them."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.models import load_model
from densedpo.models.cogvideox import CogVideoXModel
from densedpo.tinyworld.world import captions

CHANNELS, TEXT_WIDTH, TEXT_LENGTH, VOCABULARY = 4, 32, 16, 64
PROMPTS = ["a red circle moves left", "a blue square moves down"]
DEFAULTS = {"steps": 5, "guidance": 3.0, "negative_prompt": "", "width": 48, "height": 32, "frames": 9, "fps": 8.0}

# In what the three published models differ: positions, patches in time, latent scale and schedule.
KINDS: dict[str, dict[str, Any]] = {
    "2b": {
        "transformer": {"sample_height": 4, "sample_width": 6},
        "scaling_factor": 1.15258426,
        "snr_shift_scale": 3.0,
    },
    "5b": {
        "transformer": {"sample_height": 4, "sample_width": 6, "use_rotary_positional_embeddings": True},
        "scaling_factor": 0.7,
        "snr_shift_scale": 1.0,
    },
    "1.5": {
        "transformer": {
            "sample_height": 8,
            "sample_width": 8,
            "use_rotary_positional_embeddings": True,
            "patch_size_t": 2,
            "patch_bias": False,
        },
        "scaling_factor": 0.7,
        "snr_shift_scale": 1.0,
    },
}


def random_cogvideox(folder: Path, kind: str) -> Path:
    """Write a `CogVideoXPipeline` of this kind into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = CogVideoXPipeline(
            tokenizer=_tokenizer(),
            text_encoder=T5EncoderModel(
                T5Config(d_model=TEXT_WIDTH, d_kv=8, d_ff=64, num_layers=1, num_heads=2, vocab_size=VOCABULARY)
            ),
            transformer=_transformer(**KINDS[kind]["transformer"]),
            vae=_autoencoder(KINDS[kind]["scaling_factor"]),
            scheduler=published_scheduler(kind),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def published_scheduler(kind: str) -> CogVideoXDDIMScheduler:
    """The scheduler with the settings that the published checkpoint has."""
    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        snr_shift_scale=KINDS[kind]["snr_shift_scale"],
        timestep_spacing="trailing",
    )


def _tokenizer() -> T5Tokenizer:
    words = sorted({*itertools.chain.from_iterable(attributes.caption.split() for attributes in captions("base"))})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0) for word in words)]
    assert len(pieces) <= VOCABULARY
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=TEXT_LENGTH)


def _transformer(images: bool = False, **kind: Any) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=CHANNELS * (2 if images else 1),
        out_channels=CHANNELS,
        time_embed_dim=16,
        text_embed_dim=TEXT_WIDTH,
        num_layers=2,
        sample_frames=9,
        max_text_seq_length=TEXT_LENGTH,
        **kind,
    )


def _autoencoder(scaling_factor: float) -> AutoencoderKLCogVideoX:
    return AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        scaling_factor=scaling_factor,
        sample_height=32,
        sample_width=48,
    )


def loaded(folder: Path) -> CogVideoXModel:
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, CogVideoXModel)
    return model


def diffusers_pipeline(folder: Path) -> CogVideoXPipeline:
    pipeline = CogVideoXPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clips(count: int = 2, frames: int = 9) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, frames, 32, 48, 3), dtype=np.uint8)


def starts(model: CogVideoXModel, frames: int = 9, height: int = 32, width: int = 48) -> Tensor:
    return torch.stack([noise(model.latent_shape(frames, height, width), "start", i) for i in range(2)])


def ours(model: CogVideoXModel, start: Tensor, schedule: Tensor, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS[: len(start)]), model.encode_text([""] * len(start))
    return sample(model, start, [schedule] * len(start), positive, negative, guidance)


def theirs(pipeline: CogVideoXPipeline, start: Tensor, steps: int, guidance: float, **given: Any) -> Any:
    values = {"height": 32, "width": 48, "num_frames": 9, "output_type": "latent"} | given
    return pipeline(
        prompt=PROMPTS,
        latents=start.transpose(1, 2),
        num_inference_steps=steps,
        guidance_scale=guidance,
        max_sequence_length=16,
        **values,
    ).frames


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
