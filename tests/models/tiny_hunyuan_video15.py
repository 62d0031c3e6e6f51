"""A `HunyuanVideo15Pipeline` folder as a user would have it, tiny and with random weights."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
)
from tiny_hunyuan_video import word_tokenizer
from transformers import (
    ByT5Tokenizer,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    T5Config,
    T5EncoderModel,
)

CHANNELS, TEXT_WIDTH, GLYPH_WIDTH, IMAGE_WIDTH = 4, 32, 16, 8
DEFAULTS = {"steps": 4, "width": 48, "height": 32, "frames": 5, "fps": 8.0, "max_sequence_length": 14}
SYSTEM = 108  # tokens before a prompt, which the pipeline crops
# Qwen2.5's own, for a system and a user message, after as many more tokens as the system message has too few words.
CHAT_TEMPLATE = (
    "MISSING{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def random_hunyuan_video15(folder: Path) -> Path:
    """Write a `HunyuanVideo15Pipeline` for 5 frames of 48x32 into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = HunyuanVideo15Pipeline(
            tokenizer=word_tokenizer("<|im_start|>", "<|im_end|>"),
            text_encoder=_qwen(),
            tokenizer_2=ByT5Tokenizer(),
            text_encoder_2=_byt5(),
            transformer=_transformer(),
            vae=_autoencoder(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
            guider=ClassifierFreeGuidance(guidance_scale=6.0),
        )
    before = f"<|im_start|>system\n{pipeline.system_message}<|im_end|>\n<|im_start|>user\n"
    missing = SYSTEM - len(pipeline.tokenizer(before).input_ids)
    pipeline.tokenizer.chat_template = CHAT_TEMPLATE.replace("MISSING", "<s>" * missing)
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _qwen() -> Qwen2_5_VLTextModel:
    return Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(
            vocab_size=32,
            hidden_size=TEXT_WIDTH,
            intermediate_size=48,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            initializer_range=0.3,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )


def _byt5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(d_model=GLYPH_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=384))


def _transformer() -> HunyuanVideo15Transformer3DModel:
    return HunyuanVideo15Transformer3DModel(
        in_channels=2 * CHANNELS + 1,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=TEXT_WIDTH,
        text_embed_2_dim=GLYPH_WIDTH,
        image_embed_dim=IMAGE_WIDTH,
        rope_axes_dim=(2, 4, 4),
        task_type="t2v",
    )


def _autoencoder() -> AutoencoderKLHunyuanVideo15:
    return AutoencoderKLHunyuanVideo15(latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1)
