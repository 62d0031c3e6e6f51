"""Captions through T5: a warning when one is cut, and embeddings with a mask as LTX-Video and Mochi read them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline
from transformers import PreTrainedTokenizerBase

from densedpo.diffusion.protocol import Conditioning


def warn_if_truncated(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], limit: int) -> None:
    """A UserWarning for every prompt of which the text encoder will not see the end."""
    for prompt in prompts:
        tokens = len(tokenizer(prompt, verbose=False).input_ids)
        if tokens > limit:
            warnings.warn(
                f"the caption {prompt[:40]!r}... has {tokens} tokens, of which this model reads the first {limit}",
                stacklevel=3,
            )


def encode_with_mask(pipeline: DiffusionPipeline, prompts: Sequence[str], limit: int) -> Conditioning:
    """`text` `[B, limit, D]` and boolean `mask` `[B, limit]`, as the pipeline's own `encode_prompt` makes them.

    Prompt by prompt, so that no row depends on its neighbours: Mochi's pipeline blanks a whole batch whose last
    prompt is empty.
    """
    warn_if_truncated(pipeline.tokenizer, prompts, limit)
    rows = [
        pipeline.encode_prompt([prompt], do_classifier_free_guidance=False, max_sequence_length=limit)[:2]
        for prompt in prompts
    ]
    text, mask = zip(*rows, strict=True)
    return Conditioning({"text": torch.cat(text), "mask": torch.cat(mask)})
