"""A `Kandinsky5T2VPipeline` folder as a user would have it, tiny and with random weights."""

import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky5T2VPipeline, Kandinsky5Transformer3DModel
from tiny_hunyuan_video import CHANNELS, POOLED_WIDTH, _autoencoder, _clip, _clip_tokenizer, word_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

TEXT_WIDTH = 32
DEFAULTS = {"steps": 4, "width": 48, "height": 32, "frames": 5, "fps": 8.0, "max_sequence_length": 10}


def random_kandinsky5(folder: Path, visual_cond: bool = True) -> Path:
    """Write a `Kandinsky5T2VPipeline` for 5 frames of 48x32 into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip_tokenizer = _clip_tokenizer()
        pipeline = Kandinsky5T2VPipeline(
            transformer=_transformer(visual_cond),
            vae=_autoencoder(),
            text_encoder=_qwen(),
            tokenizer=word_tokenizer("<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>"),
            text_encoder_2=_clip(clip_tokenizer),
            tokenizer_2=clip_tokenizer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        )
    _lengthen_template(pipeline, pipeline.tokenizer)
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _lengthen_template(pipeline: Kandinsky5T2VPipeline, tokenizer: PreTrainedTokenizerFast) -> None:
    """The template's text before a prompt has as many tokens as with the real tokenizer: those are cropped."""
    before = pipeline.prompt_template.split("{}")[0]
    starts = "<s> " * (pipeline.prompt_template_encode_start_idx - len(tokenizer(before).input_ids))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{starts}$A", special_tokens=[("<s>", 1)])


def _qwen() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": 32,
                "hidden_size": TEXT_WIDTH,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "max_position_embeddings": 256,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
                "initializer_range": 0.3,
                "bos_token_id": 1,
                "eos_token_id": 1,
                "pad_token_id": 0,
            },
            vision_config={
                "depth": 1,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "out_hidden_size": TEXT_WIDTH,
                "fullatt_block_indexes": [0],
            },
            image_token_id=5,
            video_token_id=6,
            tie_word_embeddings=False,
        )
    )


def _transformer(visual_cond: bool) -> Kandinsky5Transformer3DModel:
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=CHANNELS,
        out_visual_dim=CHANNELS,
        in_text_dim=TEXT_WIDTH,
        in_text_dim2=POOLED_WIDTH,
        time_dim=16,
        model_dim=20,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(2, 4, 4),
        visual_cond=visual_cond,
    )
    for name, parameter in transformer.named_parameters():
        if "modulation" in name:  # they start at zero, which would shut every block off
            torch.nn.init.normal_(parameter, std=0.3)
    return transformer
