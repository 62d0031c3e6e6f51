"""The clips that the gates are measured on, each a pure function of its seeds.

Shapes: P prompts (or guide clips), K clips of each; B batch, C channels, F latent frames, H height, W width.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from densedpo.chunks import chunks
from densedpo.diffusion.protocol import VideoModel, encode_negative
from densedpo.diffusion.seeds import seed_of, uniform
from densedpo.evaluation.sampling import Shot, Studio
from densedpo.pairs.generate import generate_pairs
from densedpo.pairs.settings import PairSettings
from densedpo.progress import track
from densedpo.store.project import ProjectSettings
from densedpo.store.segments import segment_grid
from densedpo.tinyworld import world
from densedpo.tinyworld.oracle import ClipScores, score_clip
from densedpo.tinyworld.second_scorer import SecondScores, second_score

SEED = 1009  # of all draws here; neither the model's training nor the demo uses it
BATCH = 16  # clips that go through the model together
SHAPE = ProjectSettings(width=world.SIZE, height=world.SIZE, frames=world.FRAMES, fps=world.FPS)
SEGMENTS = segment_grid(SHAPE.frames, SHAPE.fps, SHAPE.segment_seconds)


@dataclass(frozen=True)
class Take:
    """A clip `[T, H, W, 3]` and its scores, one entry of `scores.segments` for each second."""

    caption: str
    frames: NDArray[np.uint8]
    scores: ClipScores


Takes = list[list[Take]]  # P rows of K


@dataclass(frozen=True)
class Guides:
    """Real clips of the base split `[P, T, H, W, 3]`, their captions, latents, and the noise level of each."""

    captions: list[str]
    frames: NDArray[np.uint8]
    latents_PCFHW: Tensor
    etas: list[float]


def take(caption: str, frames: NDArray[np.uint8]) -> Take:
    """Score a clip, whole and second by second."""
    spans = [(segment.first_frame, segment.end_frame) for segment in SEGMENTS]
    return Take(caption, frames, score_clip(frames, caption, spans))


def calibration_captions(count: int) -> list[str]:
    """The first `count` captions of the tuning split in an order by hash. None of them names a speed."""
    whole = [attributes.caption for attributes in world.captions("tune")]
    return sorted(whole, key=lambda caption: hashlib.sha256(caption.encode()).hexdigest())[:count]


def real_scenes(captions: Sequence[str], count: int) -> list[list[world.Scene]]:
    """`count` scenes of each caption, as the world draws them."""
    return [
        [
            world.sample_scene(np.random.default_rng(seed_of(SEED, "real", caption, number)), attributes)
            for number in range(count)
        ]
        for caption, attributes in ((caption, world.parse_caption(caption)) for caption in captions)
    ]


def rendered(scenes: Sequence[Sequence[world.Scene]]) -> Takes:
    """Draw and score scenes."""
    description = "drawing real clips"
    return [
        [take(s.attributes.caption, world.render(s)) for s in row] for row in track(scenes, description=description)
    ]


def reconstructed(model: VideoModel, real: Takes) -> Takes:
    """The same clips through the autoencoder and back."""
    flat = [each for row in real for each in row]
    frames = [
        clip
        for batch in track(chunks(flat, BATCH), description="reconstructing")
        for clip in model.decode(model.encode(np.stack([each.frames for each in batch])))
    ]
    return _rows([take(each.caption, clip) for each, clip in zip(flat, frames, strict=True)], len(real[0]))


def generated(model: VideoModel, captions: Sequence[str], count: int, description: str) -> tuple[Takes, float]:
    """`count` clips of each caption from noise alone, as an evaluation samples them; and CPU-seconds for one clip.

    The seconds are those of this process for text, sampling and decoding, without scoring.
    """
    studio = Studio(model, SHAPE, model.sigmas(model.defaults.steps), model.defaults.guidance, None, SEED)
    shots = [Shot(caption, index, seed) for index, caption in enumerate(captions) for seed in range(count)]
    takes, seconds = [], 0.0
    for batch in track(chunks(shots, BATCH), description=description):
        began = time.process_time()
        videos = studio.videos(batch)
        seconds += time.process_time() - began
        takes += [take(shot.prompt, frames) for shot, frames in zip(batch, videos, strict=True)]
    return _rows(takes, count), seconds / len(shots)


def draw_guides(model: VideoModel, count: int) -> Guides:
    """Real clips such as the base was trained on, but fresh ones, encoded; one noise level each, as pairs are made."""
    scenes = [world.draw_scene(SEED, item, "base") for item in range(count)]
    frames = np.stack([world.render(scene) for scene in scenes])
    parts = chunks(range(count), BATCH)
    latents = torch.cat([model.encode(frames[list(part)]).cpu() for part in track(parts, description="encoding")])
    settings = PairSettings()
    etas = [uniform(settings.eta_low, settings.eta_high, SEED, "eta", item) for item in range(count)]
    return Guides([scene.attributes.caption for scene in scenes], frames, latents, etas)


def guided(model: VideoModel, guides: Guides, members: int) -> Takes:
    """`members` clips (an even number) from each guide at its noise level; any two of a row are a guided pair."""
    assert members % 2 == 0, "members are made two at a time, as pairs"
    common = {
        "mode": "guided",
        "sampler": "euler",
        "frames": SHAPE.frames,
        "height": SHAPE.height,
        "width": SHAPE.width,
        "steps": model.defaults.steps,
        "guidance": model.defaults.guidance,
    }
    recipes = [
        (row, common | {"eta": eta, "seed_a": seed_of(SEED, row, number), "seed_b": seed_of(SEED, row, number + 1)})
        for row, eta in enumerate(guides.etas)
        for number in range(0, members, 2)
    ]
    takes: list[Take] = []
    for batch in track(chunks(recipes, BATCH // 2), description="sampling guided pairs"):
        rows = [row for row, _ in batch]
        captions = [guides.captions[row] for row in rows]
        positive, negative = model.encode_text(captions), encode_negative(model, [model.defaults.negative_prompt])
        recipe_batch = [recipe for _, recipe in batch]
        made = generate_pairs(
            model, recipe_batch, guides.latents_PCFHW[rows], positive, negative.take([0] * len(batch))
        )
        for caption, a, b in zip(captions, made.video_a, made.video_b, strict=True):
            takes += [take(caption, a), take(caption, b)]
    return _rows(takes, members)


def second_scores(takes: Takes) -> list[list[SecondScores]]:
    """What the second scorer says of the same clips."""
    return [
        [second_score(each.frames, each.caption) for each in row] for row in track(takes, description="second opinion")
    ]


def _rows(takes: list[Take], count: int) -> Takes:
    return [list(row) for row in chunks(takes, count)]
