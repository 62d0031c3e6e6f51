"""Encode clips and prompts once, into the project's cache; every later use reads them from there.

The cache is keyed by weights and content, so another model or clip never meets a stale file. Delete it at any time:
each clip and prompt is encoded alone, so the same bits come back whatever else is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from densedpo.diffusion.protocol import Conditioning, VideoModel, encode_negative, given_frames
from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair, content_id
from densedpo.video.io import read_video


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with disk_full_is_clear(path):
        try:
            save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary, metadata=metadata)
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def latents_file(project: Project, model: VideoModel, clip: Clip) -> Path:
    """Where the encoded clip is, or would be."""
    return project.cache_folder("clips") / model.vae_hash / f"{clip.id}.safetensors"


def encode_clips(project: Project, model: VideoModel, clips: Sequence[Clip]) -> int:
    """Encode the clips that are not in the cache yet; returns how many were not."""
    distinct = {clip.id: clip for clip in clips}.values()
    missing = [clip for clip in distinct if not latents_file(project, model, clip).exists()]
    for clip in track(missing, description="encoding clips"):
        frames, _ = read_video(project.media_path(clip.media))
        save_tensors(latents_file(project, model, clip), {"latents": model.encode(frames[None])[0]})
    return len(missing)


def clip_latents(project: Project, model: VideoModel, clips: Sequence[Clip]) -> Tensor:
    """The clips' normalised latents, `[B, C, F, H, W]`, encoding what is missing."""
    encode_clips(project, model, clips)
    return torch.stack([load_file(latents_file(project, model, clip))["latents"] for clip in clips])


def encode_prompts(
    project: Project, model: VideoModel, prompts: Iterable[str], negative_prompts: Iterable[str] = ()
) -> int:
    """Encode the prompts and negative prompts that are not in the cache yet; returns how many were not."""
    return _encode(project, model, prompts, False) + _encode(project, model, negative_prompts, True)


def _encode(project: Project, model: VideoModel, prompts: Iterable[str], negative: bool) -> int:
    missing = [p for p in dict.fromkeys(prompts) if not _prompt_file(project, model, p, negative).exists()]
    for prompt in missing:
        told = encode_negative(model, [prompt]) if negative else model.encode_text([prompt])
        save_tensors(_prompt_file(project, model, prompt, negative), told.tensors)
    return len(missing)


def first_frames(recipes: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The clips whose first frames these pairs share, by id; None for pairs of a model from text alone."""
    return [str(recipe["first_frame"]) for recipe in recipes] if "first_frame" in recipes[0] else None


def first_frames_of(project: Project, model: VideoModel, ids: Sequence[str]) -> list[str] | None:
    """The same for pairs, or clips themselves, of the project, given by id.

    Raises:
        UserError: a pair that no image-to-video model of this project made.
    """
    if not given_frames(model):
        return None
    pairs = project.by_id(Pair, set(ids))
    lacking = [pair.id for pair in pairs.values() if "first_frame" not in pair.recipe]
    if lacking:
        raise UserError(
            f"pair {lacking[0]} was not made from a first frame, as {model.name} needs it: leave it out, or train a "
            "text-to-video model on it"
        )
    return [str(pairs[each].recipe["first_frame"]) if each in pairs else each for each in ids]


def encode_first_frames(project: Project, model: VideoModel, clips: Iterable[str]) -> None:
    """Encode the first frames of these clips, given by id, that are not in the cache yet."""
    missing = [clip for clip in dict.fromkeys(clips) if not _first_frame_file(project, model, clip).exists()]
    if not missing:
        return
    rows = {clip.id: clip for clip in project.clips()}
    encoder: Any = model
    for clip in track(missing, description="encoding first frames"):
        frames, _ = read_video(project.media_path(rows[clip].media))
        encoded = encoder.encode_first_frame(frames[:1], len(frames))
        save_tensors(_first_frame_file(project, model, clip), {k: v[0] for k, v in encoded.tensors.items()})


def conditioning(
    project: Project,
    model: VideoModel,
    prompts: Sequence[str],
    first_frames: Sequence[str] | None = None,
    *,
    negative: bool = False,
) -> Conditioning:
    """What the denoiser is given for these prompts, one row each, encoding what is missing.

    `first_frames`, for image-to-video models: the id of the clip that each row's first frame comes from. `negative`:
    these are negative prompts.
    """
    _encode(project, model, prompts, negative)
    text = Conditioning.cat([Conditioning(load_file(_prompt_file(project, model, p, negative))) for p in prompts])
    if first_frames is None:
        return text
    encode_first_frames(project, model, first_frames)
    loaded = [load_file(_first_frame_file(project, model, clip)) for clip in first_frames]
    return Conditioning(text.tensors | {key: torch.stack([each[key] for each in loaded]) for key in loaded[0]})


def _first_frame_file(project: Project, model: VideoModel, clip: str) -> Path:
    name = content_id(model.model_hash, model.vae_hash, str(model.dtype))
    return project.cache_folder("first-frames") / name / f"{clip}.safetensors"


def _prompt_file(project: Project, model: VideoModel, prompt: str, negative: bool) -> Path:
    return prompts_folder(project, model) / prompt_name(model, prompt, negative)


def prompts_folder(project: Project, model: VideoModel) -> Path:
    """Where the embeddings of all prompts are kept, each under its `prompt_name`."""
    return project.cache_folder("prompts") / model.model_hash


def prompt_name(model: VideoModel, prompt: str, negative: bool = False) -> str:
    """The name of the file that keeps a prompt's embedding: its own as a negative prompt, if the model has two."""
    apart = ("negative",) if negative and hasattr(model, "encode_negative_text") else ()
    return f"{content_id(prompt, str(model.dtype), *apart)}.safetensors"
