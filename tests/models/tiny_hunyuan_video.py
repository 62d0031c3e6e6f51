"""A `HunyuanVideoPipeline` folder as a user would have it, tiny and with random weights."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

WORDS = ("a", "red", "blue", "circle", "square", "moves", "left", "down", "slowly")
CHANNELS, TEXT_WIDTH, POOLED_WIDTH = 4, 32, 16
DEFAULTS = {"steps": 4, "width": 48, "height": 32, "frames": 5, "fps": 8.0, "max_sequence_length": 12}


def random_hunyuan_video(folder: Path) -> Path:
    """Write a `HunyuanVideoPipeline` for 5 frames of 48x32 into `folder`; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip_tokenizer = _clip_tokenizer()
        pipeline = HunyuanVideoPipeline(
            tokenizer=_llama_tokenizer(),
            text_encoder=_llama(),
            tokenizer_2=clip_tokenizer,
            text_encoder_2=_clip(clip_tokenizer),
            transformer=_transformer(),
            vae=_autoencoder(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "densedpo.json").write_text(json.dumps(DEFAULTS))
    return folder


def _llama_tokenizer() -> PreTrainedTokenizerFast:
    """The template's text before a prompt has as many tokens as with the real tokenizer: those are cropped."""
    tokenizer = word_tokenizer("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    before = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0]
    missing = DEFAULT_PROMPT_TEMPLATE["crop_start"] - len(tokenizer(before).input_ids)
    starts = "<s> " * missing
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{starts}$A", special_tokens=[("<s>", 1)])
    return tokenizer


def word_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """One token a word."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<s>", "<unk>", *special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "<s>", "<unk>", *special])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", unk_token="<unk>")


def _llama() -> LlamaModel:
    return LlamaModel(
        LlamaConfig(
            vocab_size=32,
            hidden_size=TEXT_WIDTH,
            intermediate_size=48,
            num_hidden_layers=4,
            num_attention_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
            pad_token_id=0,
        )
    )


def _clip_tokenizer() -> CLIPTokenizer:
    letters = 'abcdefghijklmnopqrstuvwxyz,."'
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=77)


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=POOLED_WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _transformer() -> HunyuanVideoTransformer3DModel:
    return HunyuanVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        rope_axes_dim=(2, 4, 4),
    )


def _autoencoder() -> AutoencoderKLHunyuanVideo:
    return AutoencoderKLHunyuanVideo(
        latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
