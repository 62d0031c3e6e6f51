"""`SanaVideoPipeline` folders, tiny and with random weights: with Wan's autoencoder, and with LTX-2's."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTX2Video,
    AutoencoderKLWan,
    DPMSolverMultistepScheduler,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)
from tiny_hunyuan_video import word_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

from tiny_models import CHANNELS, _autoencoder

TEXT_WIDTH, SHIFT = 32, 8.0
NEGATIVE = "a square"
DEFAULTS = {
    "steps": 4,
    "negative_prompt": NEGATIVE,
    "frames": 9,
    "fps": 8.0,
    "width": 64,
    "height": 64,
    "max_sequence_length": 10,
}


def random_sana_video(folder: Path) -> Path:
    """With Wan's autoencoder, patches of 2 x 2 latents, and the sizes of 480p; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = _autoencoder()
        statistics = {
            "latents_mean": [0.1 * i - 0.3 for i in range(CHANNELS)],
            "latents_std": [0.5 + 0.2 * i for i in range(CHANNELS)],
        }
        vae.register_to_config(**statistics)
        return _saved(folder, vae, patch_size=(1, 2, 2), sample_size=30)


def random_sana_video_ltx2(folder: Path) -> Path:
    """With LTX-2's autoencoder, no patches, and the sizes of 720p; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _saved(folder, _ltx2_autoencoder(), patch_size=(1, 1, 1), sample_size=22)


def _saved(
    folder: Path, vae: AutoencoderKLWan | AutoencoderKLLTX2Video, patch_size: tuple[int, int, int], sample_size: int
) -> Path:
    pipeline = SanaVideoPipeline(
        tokenizer=_tokenizer(),
        text_encoder=_text_encoder(),
        vae=vae,
        transformer=SanaVideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=12,
            cross_attention_dim=24,
            caption_channels=TEXT_WIDTH,
            mlp_ratio=3.0,
            sample_size=sample_size,
            patch_size=patch_size,
            rope_max_seq_len=32,
        ),
        scheduler=DPMSolverMultistepScheduler(
            flow_shift=SHIFT, use_flow_sigmas=True, prediction_type="flow_prediction"
        ),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, behind a first token as Gemma's; of the instruction it knows a few words."""
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def _text_encoder() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=16,
            hidden_size=TEXT_WIDTH,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            initializer_range=0.3,
        )
    )


def _ltx2_autoencoder() -> AutoencoderKLLTX2Video:
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.linspace(-1, 1, CHANNELS))
    vae.latents_std.copy_(torch.linspace(0.5, 2, CHANNELS))
    return vae
