"""Features of frames from published networks, through transformers and torchvision. Needs torch.

Weights are local files. Preprocessing is VBench's (vbench/utils.py), which resizes tensors without antialiasing.
Shapes: T frames, C channels, H and W pixels, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from densedpo.errors import UserError
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import UnmeasurableError
from densedpo.metrics.tools import Tools
from densedpo.video.io import Frames

BATCH = 16  # frames at once
CLIP_MEAN, CLIP_SD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Features = NDArray[np.float32]  # [T, D]


def clip_pixels(frames: Frames, size: int) -> Tensor:
    """Frames as CLIP wants them, [T, 3, size, size]: short side to `size` by bicubic, centre crop, normalised."""
    pixels = _short_side(frames, size, "bicubic")
    top, left = (round((length - size) / 2) for length in pixels.shape[-2:])
    return _normalised(pixels[..., top : top + size, left : left + size], CLIP_MEAN, CLIP_SD)


def dino_pixels(frames: Frames, size: int) -> Tensor:
    """Frames as VBench gives them to DINO, [T, 3, h, w]: short side to `size` by bilinear, no crop, normalised."""
    return _normalised(_short_side(frames, size, "bilinear"), IMAGENET_MEAN, IMAGENET_SD)


def clip_features(clip: Footage, tools: Tools, folder: Path) -> Features:
    """Projected image features of every frame by a CLIP in the layout of transformers."""
    return clip.once(f"clip {folder}", lambda: _clip_features(clip.frames, tools, folder))


def dino_features(clip: Footage, tools: Tools, place: Path) -> Features:
    """The class token of every frame by DINO ViT-B/16: a folder of transformers, or the published .pth file."""
    model = tools.once(f"dino {place}", lambda: _dino(place))
    size = model.config.image_size

    def encode(frames: Frames) -> Tensor:
        out = model(pixel_values=_on(model, dino_pixels(frames, size)), interpolate_pos_encoding=True)
        return cast(Tensor, out.last_hidden_state[:, 0])

    return _batched(encode, clip.frames)


def raft_flows(frames: Frames, tools: Tools, file: Path) -> list[NDArray[np.float32]]:
    """RAFT flow [H, W, 2] from each frame to the next: 20 updates, frames padded to a multiple of 8 as VBench does.

    Raises UnmeasurableError for frames below 128 pixels, for which RAFT's pyramid has no room.
    """
    if min(frames.shape[1:3]) < 128:
        raise UnmeasurableError(f"RAFT needs frames of 128 pixels, the clip has {frames.shape[1]}x{frames.shape[2]}")
    model = tools.once(f"raft {file}", lambda: _raft(file))
    height, width = frames.shape[1:3]
    tall, wide = -height % 8, -width % 8
    padding = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
    images = [F.pad(_tensor(frame[None]) / 127.5 - 1, padding, mode="replicate") for frame in frames]
    flows = []
    for one, two in pairwise(images):
        with torch.inference_mode():
            flow = model(_on(model, one), _on(model, two), num_flow_updates=20)[-1][0].permute(1, 2, 0)
        top, left = padding[2], padding[0]
        flows.append(flow[top : top + height, left : left + width].float().cpu().numpy())
    return flows


def interpolated_frames(frames: Frames, tools: Tools, file: Path) -> Frames:
    """The frames that an exported interpolator makes between each even frame and the next even one."""
    program = tools.once(f"program {file}", lambda: _program(file))
    even = _tensor(frames[::2]) / 255
    with torch.inference_mode():
        made = [program(even[i : i + 1], even[i + 1 : i + 2]) for i in range(len(even) - 1)]
    pixels = (torch.cat(made).clamp(0, 1) * 255).round().byte()
    return cast(Frames, pixels.permute(0, 2, 3, 1).cpu().numpy())


def frame_scores(frames: Frames, tools: Tools, file: Path) -> NDArray[np.float32]:
    """The score of each frame by an exported network, [T]."""
    program = tools.once(f"program {file}", lambda: _program(file))
    with torch.inference_mode():
        return np.array([float(program(_tensor(frame[None]) / 255)) for frame in frames], dtype=np.float32)


def text_image_cosine(clip: Footage, caption: str, tools: Tools, folder: Path) -> float:
    """Mean over frames of the cosine of text and image features, by a CLIP or SigLIP in the layout of transformers."""
    from transformers import AutoModel, AutoProcessor

    model = tools.once(f"two towers {folder}", lambda: _loaded(AutoModel, folder))
    processor = tools.once(f"processor {folder}", lambda: AutoProcessor.from_pretrained(folder, local_files_only=True))
    limit = model.config.text_config.max_position_embeddings
    # SigLIP was trained on captions padded to full length, see its model card; CLIP reads its end-of-text token.
    words = processor(text=[caption], return_tensors="pt", padding="max_length", truncation=True, max_length=limit)
    with torch.inference_mode():
        text = _pooled(model.get_text_features(**{key: _on(model, value) for key, value in words.items()}))

    def encode(frames: Frames) -> Tensor:
        pixels = processor(images=list(frames), return_tensors="pt")["pixel_values"]
        return _pooled(model.get_image_features(pixel_values=_on(model, pixels)))

    images = torch.from_numpy(_batched(encode, clip.frames))
    return float(F.cosine_similarity(images, text.float().cpu()).mean())


def linear_head(file: Path) -> tuple[NDArray[np.float32], float]:
    """Weight [D] and bias of the LAION aesthetic head. Raises UserError for a file that holds no such head."""
    state = _state(file)
    if set(state) != {"weight", "bias"} or state["weight"].shape[0] != 1:
        raise UserError(f"{file} is no LAION aesthetic head (sa_0_4_vit_l_14_linear.pth); download it again")
    return state["weight"][0].float().numpy(), float(state["bias"])


def _clip_features(frames: Frames, tools: Tools, folder: Path) -> Features:
    from transformers import CLIPVisionModelWithProjection

    model = tools.once(f"clip {folder}", lambda: _loaded(CLIPVisionModelWithProjection, folder))
    size = model.config.image_size
    return _batched(lambda part: model(pixel_values=_on(model, clip_pixels(part, size))).image_embeds, frames)


def _dino(place: Path) -> Any:
    from transformers import ViTConfig, ViTModel

    from densedpo.metrics.networks.dino import as_transformers, configuration

    if place.is_dir():
        return _loaded(ViTModel, place, add_pooling_layer=False)
    state = _state(place)
    model = ViTModel(ViTConfig(**configuration(state)), add_pooling_layer=False)
    model.load_state_dict(as_transformers(state))
    return model.eval().to(_device())


def _raft(file: Path) -> Any:
    from torchvision.models.optical_flow import raft_large  # type: ignore[import-not-found, unused-ignore]

    model = raft_large(weights=None)
    model.load_state_dict(_state(file))
    return model.eval().to(_device())


def _program(file: Path) -> Any:
    """A network that was saved by `torch.export.save`. It takes frames of the size that it was exported for."""
    try:
        return torch.export.load(file).module()
    except Exception as error:  # as in `_state`
        raise UserError(f"{file} cannot be read as an exported program (torch.export.save): {error}") from error


def _loaded(cls: Any, folder: Path, **options: Any) -> Any:
    try:
        return cls.from_pretrained(folder, local_files_only=True, **options).eval().to(_device())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be loaded as {cls.__name__}: {error}") from error


def _state(file: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        raise UserError(f"{file} cannot be read as PyTorch weights: {error}") from error
    return cast(dict[str, Tensor], state)


def _batched(encode: Callable[[Frames], Tensor], frames: Frames) -> Features:
    with torch.inference_mode():
        parts = [encode(frames[start : start + BATCH]).float().cpu().numpy() for start in range(0, len(frames), BATCH)]
    return np.concatenate(parts)


def _pooled(features: Any) -> Tensor:
    """Newer transformers return an output object where older ones return the features."""
    return cast(Tensor, getattr(features, "pooler_output", features))


def _short_side(frames: Frames, size: int, mode: str) -> Tensor:
    pixels = _tensor(frames)
    height, width = pixels.shape[-2:]
    short = min(height, width)
    shape = (size, int(size * width / short)) if height == short else (int(size * height / short), size)
    return F.interpolate(pixels, shape, mode=mode, align_corners=False)


def _tensor(frames: Frames) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float()


def _normalised(pixels: Tensor, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    return (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(sd)[:, None, None]


def _on(model: Any, tensor: Tensor) -> Tensor:
    return tensor.to(next(model.parameters()).device)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
