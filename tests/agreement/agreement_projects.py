"""Projects of pairs with real little videos, and labellers with planted habits."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.store.judgements import Judgement, add_judgements
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Label, Pair, content_id, recipe_id
from densedpo.tinyworld.world import FPS, Attributes, render, sample_scene
from densedpo.video.io import write_video

FRAMES = 33  # four seconds, four segments
SEGMENTS = 4
ASKED = Attributes("red", "star", "navy", speed_word="quickly")
CHOICES = {"a": "a", "b": "b", "t": "tie", "s": "skip"}


def new_project(root: Path, pairs: int, videos: bool = True) -> Project:
    """A project with so many pairs, in the order of their ids."""
    project = Project.create(root, ProjectSettings(frames=FRAMES, fps=FPS))
    for number in range(pairs):
        media = [_video(project, number, spoiled) if videos else f"{2 * number + spoiled:064x}" for spoiled in (0, 1)]
        recipe = {"number": number}
        pair = Pair(
            id=recipe_id(recipe),
            recipe=recipe,
            clip=None,
            prompt=ASKED.caption,
            mode="guided",
            split="train",
            frames=FRAMES,
            fps=FPS,
            width=48,
            height=48,
            eta=0.7,
            model_hash="m",
            vae_hash="v",
            media_a=media[0],
            media_b=media[1],
            latents=None,
            distance=0.5,
            near_identical=False,
        )
        project.add_pairs([pair])
    return project


def _video(project: Project, number: int, spoiled: int) -> str:
    frames = render(sample_scene(np.random.default_rng(number), ASKED, FRAMES)).copy()
    if spoiled:
        frames[12:, ::2] = frames[12:, 1::2]
    path = project.root / "new.mp4"
    write_video(path, frames, FPS)
    return project.adopt(path)


def give(project: Project, name: str, *words: str, whole: str = "", kind: str = "human", **changes: Any) -> None:
    """Labels of one labeller: for each pair a word of a letter a segment ("-": none), and a letter for the whole."""
    labels = []
    for number, pair in enumerate(project.pairs()):
        opinions: list[tuple[int | None, str]] = []
        if number < len(words):
            opinions += [(segment, letter) for segment, letter in enumerate(words[number]) if letter != "-"]
        if number < len(whole) and whole[number] != "-":
            opinions.append((None, whole[number]))
        for segment, letter in opinions:
            values = {"seen": "s", "segment_seconds": 1.0, "annotator_kind": kind, **changes}
            label = Label.make(pair=pair.id, segment=segment, annotator=name, choice=CHOICES[letter], **values)
            labels.append(label)
    project.add_labels(labels)


def answer(project: Project, judge: str, answers: Iterable[tuple[int, str, int, str]], **changes: Any) -> None:
    """Raw answers of a judge about segments of the first pair: (segment, order shown, vote, choice)."""
    pair = next(project.pairs())
    rows = []
    for segment, order, vote, choice in answers:
        values: dict[str, Any] = {
            "pair": pair.id,
            "segment": segment,
            "segment_seconds": 1.0,
            "aspect": "overall",
            "judge": judge,
            "judge_version": "v1",
            "order_shown": order,
            "vote": vote,
            "outcome": "refused" if choice == "s" else "answered",
            "choice": CHOICES[choice],
            "confidence": None,
            "artifacts": {},
            "reason": "",
            "raw": "",
            "tokens_in": 100,
            "tokens_out": 10 + segment,
            "milliseconds": 2000,
        }
        rows.append(Judgement(id=content_id(judge, segment, order, vote, changes), **values | changes))
    add_judgements(project, rows)
