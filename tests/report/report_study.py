"""A small project with labels, a training run and an evaluation run, every file of it real."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.agreement import AgreementSettings, write_agreement
from densedpo.evaluation.results import compare, write_results
from densedpo.metrics import find_metrics
from densedpo.store.answers import PAGE, REVIEW, set_aside
from densedpo.store.judgements import Judgement, add_judgements
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, clip_id, content_id, recipe_id
from densedpo.video.io import Frames, write_video

FRAMES, FPS, SIZE = 17, 8.0, 16
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
PROMPTS = ("a red circle on black", SCRIPT, IMAGE, "a green star moves quickly")
CHOICES = (("a", "b"), ("a", "tie"), ("tie", "tie"), ("b", None))  # of each pair's two segments
TIME = "2026-01-01T00:00:00.000000+00:00"
Picture = Callable[[int], Frames]


def moving_square(seed: int) -> Frames:
    """A bright square that walks to the right; the seed chooses colour and row."""
    frames = np.full((FRAMES, SIZE, SIZE, 3), 24, dtype=np.uint8)
    colour = np.random.default_rng(seed).integers(100, 255, 3)
    for index, frame in enumerate(frames):
        x, y = index % (SIZE - 4), seed % (SIZE - 4)
        frame[y : y + 4, x : x + 4] = colour
    return frames


@dataclasses.dataclass
class Study:
    """What the fixtures hand out: a project and how to add to it."""

    project: Project
    picture: Picture = moving_square

    def media(self, seed: int) -> str:
        path = self.project.root / "new.mp4"
        write_video(path, self.picture(seed), FPS)
        return self.project.adopt(path)

    def add_clip(self, index: int) -> Clip:
        media, size = self.media(index), self.project.settings
        clip = Clip(
            id=clip_id(media, index, size.frames, FPS, size.width, size.height),
            media=media,
            caption=PROMPTS[index % len(PROMPTS)],
            frames=size.frames,
            fps=FPS,
            width=size.width,
            height=size.height,
            source="procedural",
            licence="CC0-1.0",
            split="train",
            origin=f"{index}.mp4",
            created=TIME,
        )
        self.project.add_clips([clip])
        return clip

    def add_pair(self, index: int, prompt: str, clip: Clip | None = None, near_identical: bool = False) -> Pair:
        recipe = {"index": index, "prompt": prompt}
        size = self.project.settings
        pair = Pair(
            id=recipe_id(recipe),
            recipe=recipe,
            clip=clip.id if clip else None,
            prompt=prompt,
            mode="guided" if clip else "independent",
            split="train",
            frames=size.frames,
            fps=FPS,
            width=size.width,
            height=size.height,
            eta=0.65 + 0.01 * index if clip else None,
            model_hash="m",
            vae_hash="v",
            media_a=self.media(100 + index),
            media_b=self.media(200 + index),
            latents=None,
            distance=0.1 * index,
            near_identical=near_identical,
            created=TIME,
        )
        self.project.add_pairs([pair])
        return pair

    def person_says(self, pair: Pair, segment: int, choice: str, person: str, order: str = "ab", **more: Any) -> Label:
        """An answer given on the labelling page."""
        label = Label.make(
            pair=pair.id,
            seen=pair.media_a,
            segment=segment,
            segment_seconds=self.project.settings.segment_seconds,
            choice=choice,
            annotator_kind="human",
            annotator=person,
            annotator_version=more.pop("version", PAGE),
            assignment=f"{person} {pair.id}",
            order_shown=order,
            milliseconds=more.pop("milliseconds", 2000),
            **more,
        )
        self.project.add_labels([label])
        return label

    def judge_says(self, pair: Pair, choice: str, order: str, outcome: str = "answered") -> None:
        """A raw answer of a vision-language model."""
        answer = Judgement(
            id=content_id(pair.id, order),
            pair=pair.id,
            segment=0,
            segment_seconds=self.project.settings.segment_seconds,
            aspect="overall",
            judge=IMAGE,
            judge_version="v1",
            order_shown=order,
            vote=0,
            outcome=outcome,  # type: ignore[arg-type]
            choice=choice,
            confidence=None,
            artifacts={},
            reason=SCRIPT,
            raw=SCRIPT,
            tokens_in=1000,
            tokens_out=20,
            milliseconds=500,
        )
        add_judgements(self.project, [answer])

    def label(
        self, pair: Pair, segment: int | None, choice: str, annotator: str = "oracle", version: str = "1"
    ) -> Label:
        label = Label.make(
            pair=pair.id,
            seen=pair.media_a,
            segment=segment,
            segment_seconds=self.project.settings.segment_seconds,
            choice=choice,
            annotator_kind="oracle",
            annotator=annotator,
            annotator_version=version,
        )
        self.project.add_labels([label])
        return label

    def run(self, name: str, settings: str, facts: dict[str, Any]) -> Path:
        folder = self.project.run_folder(name)
        (folder / "settings.yaml").write_text(settings)
        (folder / "run.json").write_text(json.dumps(facts))
        return folder

    def train(self, steps: int = 40) -> None:
        folder = self.run("dense", "beta: 500\nlora:\n  rank: 16\n", {"versions": {"torch": "2.13.0"}})
        write_lines(folder / "log.jsonl", [log_line(step, steps) for step in range(1, steps + 1)])

    def train_long(self, steps: int = 600) -> None:
        """A run that logs everything: noise levels, validation, alarms."""
        facts = {
            "kind": "training",
            "status": "begun",
            "base_model": IMAGE,
            "method": "dense",
            "beta": 500.0,
            "pairs": 213,
            "left_out": {"near-identical": 2},
        }
        folder = self.run("long", f"lr: 0.0001\ntrack: {json.dumps(SCRIPT)}\n", facts)
        lines = [log_line(step, steps) | {"by_sigma": by_sigma(step, steps)} for step in range(1, steps + 1)]
        for line in lines[99::100]:
            line["validation_loss"] = 0.7 - 0.0001 * line["step"] + (0.1 if line["step"] > 400 else 0)
        lines[299]["alarms"] = [{"name": "displacement", "saw": SCRIPT, "remedy": "a smaller --lr"}]
        lines[399]["alarms"] = [{"name": "saturation", "saw": "no slope left", "remedy": "a smaller --beta"}]
        write_lines(folder / "log.jsonl", lines)

    def evaluate(self, lines: list[dict[str, Any]], with_clips: bool = True, compared: bool = True) -> Path:
        folder = self.run("test", f"prompts: 4\nnote: {json.dumps(SCRIPT)}\n", {"versions": {"diffusers": "0.42.1"}})
        write_lines(folder / "scores.jsonl", lines)
        if compared:
            rows = [line | {"scores": {k: v for k, v in line["scores"].items() if v == v}} for line in lines]
            contestants = list(dict.fromkeys(line["contestant"] for line in lines))
            write_results(folder / "results.json", compare(rows, contestants, find_metrics(), {}, motion_margin=0.1))
        for number, line in enumerate(lines if with_clips else []):
            path = folder / line["video"]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, self.picture(300 + number), FPS)
        return folder


def log_line(step: int, steps: int) -> dict[str, Any]:
    """A plausible training: loss falls a little, the learning rate warms up over the first tenth."""
    share, wobble = step / steps, math.sin(12.9898 * step) * 0.5
    return {
        "step": step,
        "loss": math.log(2) - 0.12 * share + 0.08 * wobble,
        "accuracy": 0.5 + 0.25 * share + 0.1 * wobble,
        "inside_median": 0.3 * share,
        "winner_delta": -0.0004 * share + 0.0002 * wobble,
        "loser_delta": 0.0006 * share + 0.0002 * wobble,
        "loser_dominated": 0.5 + 0.1 * share + 0.2 * wobble,
        "grad_norm": 1.0 + wobble if step > 1 else 40.0,
        "lr": 1e-4 * min(1, 10 * share),
        "seconds": 0.5,
    }


def by_sigma(step: int, steps: int) -> dict[str, Any]:
    """Accuracy rises at low noise alone; a step sees two pairs a level."""
    share = step / steps
    return {
        f"{0.2 * level:.1f}": {
            "accuracy": 0.5 + 0.4 * share * (level < 2),
            "winner_delta": -0.001 * share,
            "loser_delta": 0.001 * level * share,
            "pairs": 2,
        }
        for level in range(5)
    }


def score_line(contestant: str, index: int, seed: int, **scores: float | None) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "prompt": PROMPTS[index % len(PROMPTS)] if index < len(PROMPTS) else f"prompt {index}",
        "prompt_index": index,
        "seed": seed,
        "video": f"clips/{contestant}/{index:04d}-{seed}.mp4",
        "scores": scores,
    }


def score_lines(prompts: int = 4, seeds: int = 2) -> list[dict[str, Any]]:
    """Dense is 0.02 to 0.05 better in quality than the base, by prompt; text moves either way; motion stays."""
    lines = []
    for index in range(prompts):
        for seed in range(seeds):
            quality, wobble = 0.5 + 0.01 * index, (-1) ** index
            base = {
                "visual_quality": quality,
                "text_alignment": 0.9,
                "temporal_consistency": 0.8,
                "dynamic_degree": 2.0,
            }
            dense = {
                "visual_quality": quality + 0.02 + 0.01 * (index % 4),
                "text_alignment": 0.9 + 0.02 * wobble,
                "temporal_consistency": 0.79,
                "dynamic_degree": 2.0 + 0.02 * wobble,
            }
            lines += [score_line("base", index, seed, **base), score_line("dense", index, seed, **dense)]
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def empty_study(root: Path, size: int = SIZE, frames: int = FRAMES) -> Study:
    settings = ProjectSettings(width=size, height=size, frames=frames, fps=FPS)
    return Study(Project.create(root, settings))


def full_study(root: Path) -> Study:
    study = empty_study(root)
    for index, (prompt, choices) in enumerate(zip(PROMPTS, CHOICES, strict=True)):
        clip = study.add_clip(index) if index < 3 else None
        pair = study.add_pair(index, prompt, clip, near_identical=index == 2)
        for segment, choice in enumerate(choices):
            if choice:
                study.label(pair, segment, choice)
    study.train()
    study.evaluate(score_lines())
    return study


def team_study(root: Path) -> Study:
    """The full study, and two people, one of whom always chooses the left one, a judge, a reviewer, a long training."""
    study = full_study(root)
    project, pairs = study.project, sorted(study.project.pairs(), key=lambda pair: pair.recipe["index"])
    for pair, order in zip(pairs, ("ab", "ba", "ab", "ba"), strict=True):
        for segment in (0, 1):
            study.person_says(pair, segment, "a", "ann", order)
            study.person_says(pair, segment, order[0], SCRIPT, order, milliseconds=4000)
        study.judge_says(pair, order[0], order)
    study.judge_says(pairs[0], "skip", "ba", outcome="refused")
    settled = study.person_says(pairs[0], 1, "tie", "cho")
    study.person_says(pairs[0], 1, "b", "rea", version=REVIEW, supersedes=settled.id)
    study.person_says(pairs[1], 0, "b", "dara")
    set_aside(project, "dara")
    study.train_long()
    project.record("ingest", folder=IMAGE, added=3, known=0, rejected=2)
    write_agreement(project, AgreementSettings(resamples=20, motion_pairs=0, shown=1))
    return study
