"""Two models against each other: people compare what an evaluation let both make of the same prompts and noise.

The pairs are a small project of their own inside the run, `runs/RUN/arena/A-B`, so that nothing of it is trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from densedpo.errors import UserError
from densedpo.files import copy_atomic, file_digest, temporary_beside, write_text_atomic
from densedpo.store.answers import asked_aspect
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Pair, recipe_id
from densedpo.video.io import VideoInfo, probe

Row = dict[str, Any]


def open_arena(project: Project, run: str, between: str) -> Project:
    """The project in which two contestants of an evaluation are compared; made, or brought up to date.

    `between` names them, `A,B`. Member a of each pair is A's video, member b is B's. Raises UserError if the run, a
    contestant, or a video is missing, or if videos differ in size, length or speed.
    """
    names = [name.strip() for name in between.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UserError(f"--between {between} must name two contestants of {run}, such as base,dense")
    a, b = names
    folder = project.root / "runs" / run
    rows = _rows(folder)
    there = sorted({row["contestant"] for row in rows})
    if missing := [name for name in names if name not in there]:
        raise UserError(f"{folder} has no contestant {missing[0]}; it has {', '.join(there)}")
    shots = [{(row["prompt_index"], row["seed"]): row for row in rows if row["contestant"] == name} for name in names]
    common = sorted(shots[0].keys() & shots[1].keys())
    if not common:
        raise UserError(
            f"{a} and {b} have made no video of the same prompt in {folder}; evaluate both on the same ones"
        )
    first = probe(_video(folder, shots[0][common[0]]))
    shape = {key: getattr(first, key) for key in ("width", "height", "frames", "fps")}
    settings = ProjectSettings(**shape, segment_seconds=first.seconds, model=project.settings.model)
    arena = Project.create(folder / "arena" / f"{a}-{b}", settings)
    known = {pair.id for pair in arena.pairs()}
    recipes = [_recipe(folder, run, shots[0][key], shots[1][key]) for key in common]
    new = ((key, recipe) for key, recipe in zip(common, recipes, strict=True) if recipe_id(recipe) not in known)
    arena.add_pairs(_pair(arena, recipe, first, [_video(folder, each[key]) for each in shots]) for key, recipe in new)
    return arena


def choices(arena: Project) -> Iterator[Row]:
    """What people chose, a row for each choice: contestant_a, contestant_b, choice (a, b, tie, skip), and of what."""
    recipes = {pair.id: pair.recipe for pair in arena.pairs()}
    for label in sorted(arena.labels(), key=lambda label: label.created):
        kind, aspect = asked_aspect(label.aspect)
        if kind != "work" or label.annotator_kind != "human":
            continue
        recipe = recipes[label.pair]
        yield {
            **{key: recipe[key] for key in ("contestant_a", "contestant_b", "prompt", "prompt_index", "seed")},
            "aspect": aspect,
            "choice": label.choice,
            "annotator": label.annotator,
            "order_shown": label.order_shown,
            "milliseconds": label.milliseconds,
        }


def write_choices(arena: Project) -> Path:
    """Write all choices to choices.jsonl in the arena's folder, and say where that is."""
    file = arena.root / "choices.jsonl"
    write_text_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in choices(arena)))
    return file


def _rows(folder: Path) -> list[Row]:
    scores = folder / "scores.jsonl"
    if not scores.exists():
        raise UserError(
            f"{folder} is no evaluation that has run (it has no scores.jsonl); run `densedpo evaluate` first"
        )
    try:
        return [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise UserError(f"{scores} is not JSON Lines ({error.msg}); evaluate again") from None


def _recipe(folder: Path, run: str, row_a: Row, row_b: Row) -> Row:
    return {
        "arena": run,
        "contestant_a": row_a["contestant"],
        "contestant_b": row_b["contestant"],
        **{key: row_a[key] for key in ("prompt", "prompt_index", "seed")},
        "media": [file_digest(_video(folder, row)) for row in (row_a, row_b)],
    }


def _pair(arena: Project, recipe: Row, shape: VideoInfo, videos: list[Path]) -> Pair:
    media = [_adopted(arena, video, shape) for video in videos]
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=None,
        prompt=recipe["prompt"],
        mode="imported",
        split="test",
        **{key: value for key, value in asdict(shape).items() if key != "seconds"},
        eta=None,
        model_hash="",
        vae_hash="",
        media_a=media[0],
        media_b=media[1],
        latents=None,
        distance=None,
        near_identical=False,
    )


def _video(folder: Path, row: Row) -> Path:
    video: Path = folder / row["video"]
    if not video.exists():
        raise UserError(f"{video} is missing; run `densedpo evaluate` again, which makes it anew")
    return video


def _words(shape: VideoInfo) -> str:
    return f"{shape.frames} frames of {shape.width}x{shape.height} at {shape.fps:g} a second"


def _adopted(arena: Project, video: Path, shape: VideoInfo) -> str:
    found = probe(video)
    if found != shape:
        raise UserError(
            f"{video} has {_words(found)}, but others have {_words(shape)}; only videos of one size and length can be "
            "compared"
        )
    temporary = temporary_beside(arena.root / video.name)
    copy_atomic(video, temporary)
    return arena.adopt(temporary)
