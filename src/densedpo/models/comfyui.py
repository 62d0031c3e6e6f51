"""Adapters under the names that ComfyUI knows: those of the makers' own implementations.

ComfyUI finds the layer of each pair of matrices by name (`comfy/lora.py`, `model_lora_keys_unet`: `diffusion_model.`
and the name in its own model) and adds B A to its weight, scaled by alpha / rank only if the file has an `.alpha`
(`comfy/weight_adapter/lora.py`). The files made here have none: the scale is in B, so that every reader agrees.

Where the makers have one layer for what diffusers splits (q, k and v, mostly), the adapters of the parts become one of
summed rank: their A stacked, their B on the diagonal of blocks. Its B A is theirs, stacked, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from densedpo.errors import UserError

PREFIX = "diffusion_model."

# A table's rows: diffusers' name of a layer → ComfyUI's; N stands for a block's number. Rows that share ComfyUI's name
# are parts of one layer there, in the order of its output rows.

# ComfyUI comfy/ldm/wan/model.py (WanSelfAttention, WanAttentionBlock); the other way round in diffusers'
# loaders/lora_conversion_utils.py, _convert_non_diffusers_wan_lora_to_diffusers.
WAN = {
    "blocks.N.attn1.to_q": "blocks.N.self_attn.q",
    "blocks.N.attn1.to_k": "blocks.N.self_attn.k",
    "blocks.N.attn1.to_v": "blocks.N.self_attn.v",
    "blocks.N.attn1.to_out.0": "blocks.N.self_attn.o",
    "blocks.N.attn2.to_q": "blocks.N.cross_attn.q",
    "blocks.N.attn2.to_k": "blocks.N.cross_attn.k",
    "blocks.N.attn2.to_v": "blocks.N.cross_attn.v",
    "blocks.N.attn2.to_out.0": "blocks.N.cross_attn.o",
    "blocks.N.attn2.add_k_proj": "blocks.N.cross_attn.k_img",  # of 2.1 I2V: WanI2VCrossAttention
    "blocks.N.attn2.add_v_proj": "blocks.N.cross_attn.v_img",
    "blocks.N.ffn.net.0.proj": "blocks.N.ffn.0",
    "blocks.N.ffn.net.2": "blocks.N.ffn.2",
}

# ComfyUI comfy/ldm/cogvideo/model.py (CogVideoXBlock).
COGVIDEOX = {
    "transformer_blocks.N.attn1.to_q": "blocks.N.q",
    "transformer_blocks.N.attn1.to_k": "blocks.N.k",
    "transformer_blocks.N.attn1.to_v": "blocks.N.v",
    "transformer_blocks.N.attn1.to_out.0": "blocks.N.attn_out",
}

# ComfyUI comfy/ldm/lightricks/model.py (BasicTransformerBlock, CrossAttention): the names are diffusers'; the prefix
# alone is taken off by diffusers' _convert_non_diffusers_ltxv_lora_to_diffusers.
LTX = {
    f"transformer_blocks.N.{attention}.{layer}": f"transformer_blocks.N.{attention}.{layer}"
    for attention in ("attn1", "attn2")
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
}

# ComfyUI comfy/ldm/genmo/joint_model/asymm_models_joint.py (AsymmetricAttention); order of the parts and the names on
# both sides in diffusers' scripts/convert_mochi_to_diffusers.py.
MOCHI = {
    "transformer_blocks.N.attn1.to_q": "blocks.N.attn.qkv_x",
    "transformer_blocks.N.attn1.to_k": "blocks.N.attn.qkv_x",
    "transformer_blocks.N.attn1.to_v": "blocks.N.attn.qkv_x",
    "transformer_blocks.N.attn1.to_out.0": "blocks.N.attn.proj_x",
}

# Tencent's names, which ComfyUI's comfy/lora.py maps to its own for HunyuanVideo and its subclass HunyuanVideo15 ("Old
# loras"); the parts and their order in diffusers' _convert_hunyuan_video_lora_to_diffusers. Version 1.5 has double
# blocks only: Tencent's file keeps q, k and v apart (diffusers' scripts/convert_hunyuan_video1_5_to_diffusers.py), but
# ComfyUI's network has the same fused blocks for both versions (comfy/ldm/hunyuan_video/model.py, DoubleStreamBlock).
HUNYUAN_VIDEO = {
    "transformer_blocks.N.norm1.linear": "double_blocks.N.img_mod.linear",
    "transformer_blocks.N.norm1_context.linear": "double_blocks.N.txt_mod.linear",
    "transformer_blocks.N.attn.to_q": "double_blocks.N.img_attn_qkv",
    "transformer_blocks.N.attn.to_k": "double_blocks.N.img_attn_qkv",
    "transformer_blocks.N.attn.to_v": "double_blocks.N.img_attn_qkv",
    "transformer_blocks.N.attn.to_out.0": "double_blocks.N.img_attn_proj",
    "transformer_blocks.N.attn.add_q_proj": "double_blocks.N.txt_attn_qkv",
    "transformer_blocks.N.attn.add_k_proj": "double_blocks.N.txt_attn_qkv",
    "transformer_blocks.N.attn.add_v_proj": "double_blocks.N.txt_attn_qkv",
    "transformer_blocks.N.attn.to_add_out": "double_blocks.N.txt_attn_proj",
    "transformer_blocks.N.ff.net.0.proj": "double_blocks.N.img_mlp.fc1",
    "transformer_blocks.N.ff.net.2": "double_blocks.N.img_mlp.fc2",
    "transformer_blocks.N.ff_context.net.0.proj": "double_blocks.N.txt_mlp.fc1",
    "transformer_blocks.N.ff_context.net.2": "double_blocks.N.txt_mlp.fc2",
    "single_transformer_blocks.N.norm.linear": "single_blocks.N.modulation.linear",
    "single_transformer_blocks.N.attn.to_q": "single_blocks.N.linear1",
    "single_transformer_blocks.N.attn.to_k": "single_blocks.N.linear1",
    "single_transformer_blocks.N.attn.to_v": "single_blocks.N.linear1",
    "single_transformer_blocks.N.proj_mlp": "single_blocks.N.linear1",
    "single_transformer_blocks.N.proj_out": "single_blocks.N.linear2",
}

# ComfyUI comfy/ldm/kandinsky5/model.py (SelfAttention, CrossAttention, FeedForward): the names are diffusers'.
KANDINSKY5 = {
    f"{block}.{layer}": f"{block}.{layer}"
    for block, attentions in (
        ("text_transformer_blocks.N", ("self_attention",)),
        ("visual_transformer_blocks.N", ("self_attention", "cross_attention")),
    )
    for layer in (
        *(f"{a}.{part}" for a in attentions for part in ("to_query", "to_key", "to_value", "out_layer")),
        "feed_forward.in_layer",
        "feed_forward.out_layer",
    )
}

TABLES = {
    "WanPipeline": WAN,
    "WanImageToVideoPipeline": WAN,
    "SkyReelsV2Pipeline": WAN,  # its makers' network is Wan's; diffusers' SkyReelsV2LoraLoaderMixin reads Wan's names
    "Kandinsky5T2VPipeline": KANDINSKY5,
    "CogVideoXPipeline": COGVIDEOX,
    "LTXPipeline": LTX,
    "LTXConditionPipeline": LTX,
    "MochiPipeline": MOCHI,
    "HunyuanVideoPipeline": HUNYUAN_VIDEO,
    "HunyuanVideo15Pipeline": HUNYUAN_VIDEO,
}


def to_comfyui(pipeline: str, adapter: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The adapter as ComfyUI loads it.

    Args:
        pipeline: the base model's pipeline class.
        adapter: PEFT's names within the denoiser (`blocks.0.attn1.to_q.lora_A.weight`) → A `[rank, in]`, B
            `[out, rank]`.
        scale: alpha / rank; it goes into B.

    Raises:
        UserError: ComfyUI's names are not known for this family or for a layer, or a fused layer lacks a part.
    """
    if pipeline not in TABLES:
        raise UserError(
            f"ComfyUI's names for the layers of a {pipeline} are not known here: export with --format diffusers"
        )
    layers = {key.partition(".lora_")[0] for key in adapter}
    converted = {}
    for theirs, ours in _layers_there(TABLES[pipeline], layers, pipeline).items():
        missing = [name for name in ours if name not in layers]
        if missing:
            raise UserError(
                f"ComfyUI has one layer {theirs} for {', '.join(ours)}, but the adapter lacks {', '.join(missing)}: "
                "export with --format diffusers"
            )
        converted[f"{PREFIX}{theirs}.lora_A.weight"] = torch.cat([adapter[f"{name}.lora_A.weight"] for name in ours])
        diagonal = torch.block_diag(*(adapter[f"{name}.lora_B.weight"] for name in ours))  # type: ignore[no-untyped-call]
        converted[f"{PREFIX}{theirs}.lora_B.weight"] = scale * diagonal
    return converted


def _layers_there(table: Mapping[str, str], layers: set[str], pipeline: str) -> dict[str, list[str]]:
    """ComfyUI's layer → the layers here that it is made of, in the order of its output rows."""
    made_of: dict[str, list[str]] = {}
    for layer in sorted(layers):
        number = re.search(r"\.(\d+)\.", layer)
        row = layer.replace(number[0], ".N.", 1) if number else layer
        if number is None or row not in table:
            raise UserError(
                f"ComfyUI's name for the layer {layer} of a {pipeline} is not known here: export with "
                "--format diffusers"
            )
        parts = [ours for ours, theirs in table.items() if theirs == table[row]]
        made_of[table[row].replace(".N.", number[0])] = [part.replace(".N.", number[0]) for part in parts]
    return made_of
