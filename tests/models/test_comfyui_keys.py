"""ComfyUI's names for adapters: the layers of its own networks, fused without a loss, and back through diffusers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from diffusers import (
    CogVideoXTransformer3DModel,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoTransformer3DModel,
    Kandinsky5Transformer3DModel,
    LTXVideoTransformer3DModel,
    MochiTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    WanTransformer3DModel,
)
from diffusers.loaders import lora_conversion_utils as diffusers_converters
from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import cogvideox, ltx, mochi
from densedpo.models.comfyui import TABLES, to_comfyui
from densedpo.models.load import families
from densedpo.models.lora import linear_layers

GOLDEN = json.loads((Path(__file__).parent / "golden" / "comfyui_layers.json").read_text())
RANK = 2
Build = Callable[[], torch.nn.Module]

# One block of each family at the size of the golden list, and where its adapters go by default.
NETWORKS: dict[str, tuple[Build, Sequence[str], Sequence[str]]] = {
    "WanPipeline": (
        lambda: WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=1),
        ["blocks."],
        [""],
    ),
    "WanImageToVideoPipeline": (
        lambda: WanTransformer3DModel(
            num_attention_heads=40, ffn_dim=13824, num_layers=1, image_dim=1280, added_kv_proj_dim=5120
        ),
        ["blocks."],
        [""],
    ),
    "CogVideoXPipeline": (
        lambda: CogVideoXTransformer3DModel(
            num_attention_heads=48, num_layers=1, use_rotary_positional_embeddings=True
        ),
        ["transformer_blocks."],
        cogvideox.LORA_TARGETS,
    ),
    "LTXPipeline": (lambda: LTXVideoTransformer3DModel(num_layers=1), ["transformer_blocks."], ltx.LORA_LAYERS),
    "LTXConditionPipeline": (
        lambda: LTXVideoTransformer3DModel(attention_head_dim=128, cross_attention_dim=4096, num_layers=1),
        ["transformer_blocks."],
        ltx.LORA_LAYERS,
    ),
    "MochiPipeline": (lambda: MochiTransformer3DModel(num_layers=1), ["transformer_blocks."], mochi.LORA_LAYERS),
    "HunyuanVideoPipeline": (
        lambda: HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1, num_refiner_layers=1),
        ["transformer_blocks.", "single_transformer_blocks."],
        [""],
    ),
    "SkyReelsV2Pipeline": (
        lambda: SkyReelsV2Transformer3DModel(num_attention_heads=40, ffn_dim=13824, num_layers=1),
        ["blocks."],
        [""],
    ),
    "Kandinsky5T2VPipeline": (
        lambda: Kandinsky5Transformer3DModel(model_dim=1792, ff_dim=7168, num_text_blocks=1, num_visual_blocks=1),
        ["text_transformer_blocks.", "visual_transformer_blocks."],
        [".to_query", ".to_key", ".to_value", "attention.out_layer", ".in_layer", "feed_forward.out_layer"],
    ),
    "HunyuanVideo15Pipeline": (
        lambda: HunyuanVideo15Transformer3DModel(num_layers=1, num_refiner_layers=1),
        ["transformer_blocks."],
        [""],
    ),
}


def adapter_for(pipeline: str) -> dict[str, Tensor]:
    """An adapter with random weights on one block at the family's real width."""
    build, prefixes, endings = NETWORKS[pipeline]
    with torch.device("meta"):
        network = build()
    adapter = {}
    for name in linear_layers(network, *prefixes):
        if name.endswith(tuple(endings)):
            layer = network.get_submodule(name)
            adapter[f"{name}.lora_A.weight"] = noise((RANK, layer.in_features), pipeline, name, "A")  # type: ignore[arg-type]
            adapter[f"{name}.lora_B.weight"] = noise((layer.out_features, RANK), pipeline, name, "B")  # type: ignore[arg-type]
    return adapter


def test_every_table_is_of_a_family_and_has_a_golden_list() -> None:
    assert TABLES.keys() == NETWORKS.keys() == GOLDEN.keys() - {"about"}
    assert TABLES.keys() <= families().keys()


@pytest.mark.parametrize("pipeline", NETWORKS)
def test_the_layers_are_those_of_comfyuis_own_network(pipeline: str) -> None:
    adapter = adapter_for(pipeline)
    converted = to_comfyui(pipeline, adapter, 1.0)
    parts = {theirs: list(TABLES[pipeline].values()).count(theirs) for theirs in TABLES[pipeline].values()}
    expected = {}
    for layer, (rows, columns) in GOLDEN[pipeline]["layers"].items():
        rank = RANK * parts[layer.replace(".0.", ".N.", 1)]
        expected[f"diffusion_model.{layer}.lora_A.weight"] = (rank, columns)
        expected[f"diffusion_model.{layer}.lora_B.weight"] = (rows, rank)
    assert {key: tuple(tensor.shape) for key, tensor in converted.items()} == expected


def small_adapter(parts: Sequence[str], rows: Sequence[int]) -> dict[str, Tensor]:
    matrices = {}
    for name, out in zip(parts, rows, strict=True):
        matrices[f"{name}.lora_A.weight"] = noise((3, 8), name, "A")
        matrices[f"{name}.lora_B.weight"] = noise((out, 3), name, "B")
    return matrices


@pytest.mark.parametrize(
    ("pipeline", "fused", "parts", "rows"),
    [
        (
            "HunyuanVideoPipeline",
            "double_blocks.7.img_attn_qkv",
            [f"transformer_blocks.7.attn.to_{x}" for x in "qkv"],
            [8, 8, 8],
        ),
        (
            "HunyuanVideo15Pipeline",
            "double_blocks.7.txt_attn_qkv",
            [f"transformer_blocks.7.attn.add_{x}_proj" for x in "qkv"],
            [8, 8, 8],
        ),
        (
            "HunyuanVideoPipeline",
            "single_blocks.12.linear1",
            [f"single_transformer_blocks.12.{x}" for x in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
            [8, 8, 8, 32],
        ),
        ("MochiPipeline", "blocks.3.attn.qkv_x", [f"transformer_blocks.3.attn1.to_{x}" for x in "qkv"], [8, 8, 8]),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_a_fused_layer_changes_by_what_its_parts_change_by(
    pipeline: str, fused: str, parts: list[str], rows: list[int], scale: float
) -> None:
    adapter = small_adapter(parts, rows)
    deltas = [scale * adapter[f"{part}.lora_B.weight"] @ adapter[f"{part}.lora_A.weight"] for part in parts]
    converted = to_comfyui(pipeline, dict(reversed(adapter.items())), scale)
    assert converted.keys() == {f"diffusion_model.{fused}.lora_{side}.weight" for side in "AB"}
    delta = converted[f"diffusion_model.{fused}.lora_B.weight"] @ converted[f"diffusion_model.{fused}.lora_A.weight"]
    assert (delta - torch.cat(deltas)).abs().max() <= 1e-6 * delta.abs().max()


CONVERTERS = {
    "WanPipeline": diffusers_converters._convert_non_diffusers_wan_lora_to_diffusers,
    "WanImageToVideoPipeline": diffusers_converters._convert_non_diffusers_wan_lora_to_diffusers,
    "SkyReelsV2Pipeline": diffusers_converters._convert_non_diffusers_wan_lora_to_diffusers,
    "LTXPipeline": diffusers_converters._convert_non_diffusers_ltxv_lora_to_diffusers,
    "HunyuanVideoPipeline": diffusers_converters._convert_hunyuan_video_lora_to_diffusers,
    "HunyuanVideo15Pipeline": diffusers_converters._convert_hunyuan_video_lora_to_diffusers,
}


@pytest.mark.parametrize("pipeline", CONVERTERS)
def test_diffusers_own_converter_brings_back_what_went_in(pipeline: str) -> None:
    """Parts of a fused layer come back at its rank: their own rows of A, and a B that is zero for the others'."""
    adapter = adapter_for(pipeline)
    back = CONVERTERS[pipeline](to_comfyui(pipeline, adapter, 1.0))
    assert back.keys() == {f"transformer.{key}" for key in adapter}
    for layer in {key.partition(".lora_")[0] for key in adapter}:
        a, b = (back[f"transformer.{layer}.lora_{side}.weight"] for side in "AB")
        own = b.any(0)
        assert torch.equal(a[own], adapter[f"{layer}.lora_A.weight"])
        assert torch.equal(b[:, own], adapter[f"{layer}.lora_B.weight"])


def test_a_family_or_layer_without_a_known_name_is_refused() -> None:
    with pytest.raises(UserError, match="names for the layers of a SanaVideoPipeline are not known here: export with"):
        to_comfyui("SanaVideoPipeline", {}, 1.0)
    for layer in ("blocks.0.attn3.to_q", "proj_out"):
        with pytest.raises(UserError, match=f"name for the layer {layer} of a WanPipeline is not known here"):
            to_comfyui("WanPipeline", small_adapter([layer], [8]), 1.0)


def test_a_part_of_a_fused_layer_alone_is_refused() -> None:
    adapter = small_adapter(["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_v"], [8, 8])
    with pytest.raises(
        UserError, match=r"one layer blocks\.0\.attn\.qkv_x .* lacks transformer_blocks\.0\.attn1\.to_k"
    ):
        to_comfyui("MochiPipeline", adapter, 1.0)
