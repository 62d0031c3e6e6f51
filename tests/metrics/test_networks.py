"""Metrics with weights, on tiny random networks of the very classes that load the published ones."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import METRICS, refused, shifting, value
from sentencepiece import SentencePieceTrainer
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
    SiglipTextConfig,
    SiglipTokenizer,
    SiglipVisionConfig,
    ViTConfig,
    ViTModel,
)

from densedpo.errors import UserError
from densedpo.metrics import Tools
from densedpo.metrics.networks.features import clip_pixels, dino_pixels
from densedpo.metrics.vbench import consistency

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
FRAMES = shifting(6.0, 5, 48)
CAPTION = "a red star"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def dino_state(wide: int = 128, layers: int = 2, patch: int = 16, positions: int = 4) -> dict[str, torch.Tensor]:
    """Random weights under the names of DINO's published file."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, wide),
        "pos_embed": (1, 1 + positions, wide),
        "patch_embed.proj.weight": (wide, 3, patch, patch),
        "patch_embed.proj.bias": (wide,),
        "norm.weight": (wide,),
        "norm.bias": (wide,),
    }
    for i in range(layers):
        parts = {
            "norm1": (),
            "norm2": (),
            "attn.qkv": (3, 1),
            "attn.proj": (1, 1),
            "mlp.fc1": (2, 1),
            "mlp.fc2": (1, 2),
        }
        for part, times in parts.items():
            out = wide * (times[0] if times else 1)
            shapes[f"blocks.{i}.{part}.weight"] = (out, wide * times[1]) if times else (wide,)
            shapes[f"blocks.{i}.{part}.bias"] = (out,)
    return {name: torch.randn(shape) * (0.2 if len(shape) > 1 else 1) for name, shape in shapes.items()}


def read_vit(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """DINO's ViT read straight from its paper's code: class token after the last norm. Heads of 64."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    patches = F.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    x = torch.cat([state["cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    x = x + state["pos_embed"]
    for i in range(2):
        qkv = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = (part.unflatten(-1, (2, 64)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 8, dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), f"blocks.{i}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_subject_consistency_from_dinos_published_file(tmp_path: Path) -> None:
    """The file's names, loaded into transformers, give the features of a straight reading of DINO."""
    state, file = dino_state(), tmp_path / "dino_vitbase16_pretrain.pth"
    torch.save(state, file)
    expected = consistency(read_vit(state, dino_pixels(FRAMES, 32)).numpy())
    found = value("vbench_subject_consistency", FRAMES, tools=Tools({"dino-vitb16": file}))
    assert found == pytest.approx(expected, abs=1e-5) and found < 0.99


def test_subject_consistency_from_a_folder(tmp_path: Path) -> None:
    model = ViTModel(ViTConfig(**SMALL, patch_size=16, image_size=32), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        features = model(dino_pixels(FRAMES, 32)).last_hidden_state[:, 0]
    tools = Tools({"dino-vitb16": tmp_path})
    assert value("vbench_subject_consistency", FRAMES, tools=tools) == pytest.approx(
        consistency(features.numpy()), abs=1e-5
    )
    assert value("vbench_subject_consistency", FRAMES[[0, 0, 0]], tools=tools) == pytest.approx(1, abs=1e-5)


@pytest.fixture
def vision(tmp_path: Path) -> tuple[Path, CLIPVisionModelWithProjection]:
    config = CLIPVisionConfig(**SMALL, image_size=32, patch_size=16, projection_dim=16)
    model = CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip", model


def test_background_consistency(vision: tuple[Path, CLIPVisionModelWithProjection]) -> None:
    folder, model = vision
    with torch.no_grad():
        features = model(clip_pixels(FRAMES, 32)).image_embeds
    found = value("vbench_background_consistency", FRAMES, tools=Tools({"clip-vit-b32": folder}))
    assert found == pytest.approx(consistency(features.numpy()), abs=1e-5)


def test_aesthetic_quality(vision: tuple[Path, CLIPVisionModelWithProjection], tmp_path: Path) -> None:
    folder, model = vision
    head = torch.nn.Linear(16, 1)
    torch.save(head.state_dict(), tmp_path / "head.pth")
    with torch.no_grad():
        expected = (head(F.normalize(model(clip_pixels(FRAMES, 32)).image_embeds, dim=-1)) / 10).mean()
    tools = Tools({"clip-vit-l14": folder, "laion-aesthetic": tmp_path / "head.pth"})
    assert value("vbench_aesthetic_quality", FRAMES, tools=tools) == pytest.approx(float(expected), abs=1e-6)


def test_preprocessing_by_hand() -> None:
    """Twice the size, flat grey 128: resizing keeps it, and (128 / 255 - mean) / sd is what networks see."""
    grey = np.full((1, 32, 48, 3), 128, np.uint8)
    pixels = clip_pixels(grey, 16)
    assert pixels.shape == (1, 3, 16, 16)
    assert pixels[0, 0, 0, 0] == pytest.approx((128 / 255 - 0.48145466) / 0.26862954, abs=1e-5)
    assert dino_pixels(grey, 16).shape == (1, 3, 16, 24)
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None], (1, 48, 32)).copy()
    tall = np.repeat(ramp[..., None], 3, axis=-1)
    cropped = dino_pixels(tall, 32)[0, 0, :, 0] * 0.229 + 0.485
    assert cropped.shape == (48,) and cropped[7] == pytest.approx(7 / 255, abs=1e-5)
    middle = clip_pixels(tall, 32)[0, 0, :, 0] * 0.26862954 + 0.48145466
    assert middle[0] == pytest.approx(8 / 255, abs=1e-5)  # the centre: 8 of 48 rows are cut at the top


@pytest.fixture
def towers(tmp_path: Path) -> tuple[Path, CLIPModel, CLIPProcessor]:
    letters = sorted(set(CAPTION.replace(" ", "")))
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=16)
    last = len(words) - 1
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 16}
    text |= {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    image = {**SMALL, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=16)).eval()
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = CLIPProcessor(images, tokenizer)
    folder = tmp_path / "towers"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, model, processor


def test_text_similarity(towers: tuple[Path, CLIPModel, CLIPProcessor]) -> None:
    """The cosine that CLIP's own forward computes for its logits, averaged over frames."""
    folder, model, processor = towers
    inputs = processor(text=[CAPTION], images=list(FRAMES), return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(**inputs).logits_per_image[:, 0] / model.logit_scale.exp()
    tools = Tools({"text-image": folder})
    assert value("text_similarity", FRAMES, caption=CAPTION, tools=tools) == pytest.approx(
        float(logits.mean()), abs=1e-5
    )
    assert "caption is unknown" in refused("text_similarity", FRAMES)


def test_text_similarity_by_siglip(tmp_path: Path) -> None:
    """The same by a SigLIP, whose captions are padded to full length, as it was trained."""
    words = ["a", "red", "star", "moves", "over", "the", "blue", "ground", "and", "back", "again"]
    SentencePieceTrainer.train(
        sentence_iterator=iter(words * 20), model_prefix=str(tmp_path / "pieces"), vocab_size=26, minloglevel=2,
        bos_id=-1, eos_id=1, unk_id=2, pad_id=0, character_coverage=1.0,
    )  # fmt: skip
    tokenizer = SiglipTokenizer(str(tmp_path / "pieces.model"), model_max_length=16)
    text = SiglipTextConfig(**SMALL, vocab_size=40, max_position_embeddings=16)
    image = SiglipVisionConfig(**SMALL, image_size=32, patch_size=16)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=image)).eval()
    processor = SiglipProcessor(SiglipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    model.save_pretrained(tmp_path / "siglip")
    processor.save_pretrained(tmp_path / "siglip")
    inputs = processor(
        text=[CAPTION], images=list(FRAMES), return_tensors="pt", padding="max_length", max_length=16, truncation=True
    )
    with torch.no_grad():
        logits = (model(**inputs).logits_per_image[:, 0] - model.logit_bias) / model.logit_scale.exp()
    found = value("text_similarity", FRAMES, caption=CAPTION, tools=Tools({"text-image": tmp_path / "siglip"}))
    assert found == pytest.approx(float(logits.mean()), abs=1e-5)


class Mean(torch.nn.Module):
    """An interpolator that averages its two frames."""

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return (one + two) / 2


class Brightness(torch.nn.Module):
    """A judge who likes brightness, of 100."""

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        return frame.mean() * 100


def exported(network: torch.nn.Module, inputs: int, file: Path) -> Path:
    torch.export.save(torch.export.export(network, tuple(torch.rand(1, 3, 16, 16) for _ in range(inputs))), file)
    return file


def test_motion_smoothness_and_imaging_quality_by_exported_programs(tmp_path: Path) -> None:
    """Brightness 10, 30, 20: the mean of the outer two is 15, so the error is 15 of 255."""
    frames = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (10, 30, 20)])
    tools = Tools({"amt-s": exported(Mean(), 2, tmp_path / "amt.pt2")})
    assert value("vbench_motion_smoothness", frames, tools=tools) == pytest.approx(240 / 255)
    tools = Tools({"musiq-spaq": exported(Brightness(), 1, tmp_path / "musiq.pt2")})
    assert value("vbench_imaging_quality", frames, tools=tools) == pytest.approx(20 / 255)


def test_dynamic_degree_pads_and_cuts_for_raft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for torchvision's RAFT says that all moves by the frame's mean; VBench's rule does the rest."""
    seen: list[tuple[int, ...]] = []

    class Raft(torch.nn.Module):
        def __init__(self, weights: None) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, one: torch.Tensor, two: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
            assert num_flow_updates == 20 and one.min() >= -1 and two.max() <= 1
            seen.append(tuple(one.shape))
            return [torch.full((1, 2, *one.shape[2:]), 0.0), torch.full((1, 2, *one.shape[2:]), float(two.mean()) * 10)]

    module = types.ModuleType("torchvision.models.optical_flow")
    module.raft_large = Raft  # type: ignore[attr-defined]
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", module)
    torch.save({"bias": torch.zeros(1)}, tmp_path / "raft.pth")
    tools = Tools({"raft-things": tmp_path / "raft.pth"})
    for level, dynamic in ((255, 1.0), (140, 0.0)):  # flow of 10 or 1 along both axes; the threshold is 3.05 pixels
        assert value("vbench_dynamic_degree", np.full((7, 130, 133, 3), level, np.uint8), tools=tools) == dynamic
    assert seen[0] == (1, 3, 136, 136)
    assert "128 pixels" in refused("vbench_dynamic_degree", FRAMES, tools=tools)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.needs])
def test_files_that_are_no_weights_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_text("not weights")
    module = types.ModuleType("torchvision.models.optical_flow")
    module.raft_large = lambda weights: torch.nn.Linear(1, 1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", module)
    tools = Tools(dict.fromkeys((need.name for need in METRICS[name].needs), broken))
    with pytest.raises(UserError, match=r"broken\.pth"):
        value(name, np.zeros((3, 128, 128, 3), np.uint8), caption=CAPTION, tools=tools)
