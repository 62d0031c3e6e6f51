"""Makes the screenshots of docs/report.md: `python scripts/report_screenshots.py [FOLDER]` (default docs/images).

Needs Chromium. Clips are the tiny world's, the members of pairs are bent copies of them, labels are the simulated
annotator's, and the evaluation compares finished clips. What two people and the training log say is drawn at random:
nobody labelled these pairs, and nothing was trained.
"""

import csv
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.run import evaluate
from densedpo.ingest import IngestSettings, ingest
from densedpo.labels import OracleLabelSettings, label_oracle
from densedpo.report import build_report
from densedpo.store.answers import PAGE
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, recipe_id
from densedpo.tinyworld.world import FPS, draw_scene, render
from densedpo.video.io import Frames, read_video, write_video

SEED = 11
CLIPS, PROMPTS, STEPS = 40, 16, 300
PAGES = ("overview", "data", "labels", "training", "results")


def main(folder: Path) -> None:
    """Take all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        project = make_project(Path(temporary) / "shapes", Path(temporary))
        index = build_report(project, Path(temporary) / "report", "dense", "evaluation")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in PAGES:
            shoot(browser, index, name, folder, "light")
        shoot(browser, index, "overview", folder, "dark")
        browser.close()


def shoot(browser: Browser, index: Path, name: str, folder: Path, scheme: Any) -> None:
    """One page as it opens."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page.goto(index.with_name("index.html" if name == "overview" else f"{name}.html").as_uri())
    page.wait_for_timeout(1500)  # until the videos in sight play
    page.screenshot(path=folder / f"report-{name}-{scheme}.png")
    page.close()


def make_project(root: Path, temporary: Path) -> Project:
    """Clips, pairs, labels, a log, an evaluation."""
    project = Project.create(root, ProjectSettings())
    ingest(project, real_clips(temporary / "clips"), IngestSettings())
    rng = np.random.default_rng(SEED)
    project.add_pairs([pair_of(project, clip, rng) for clip in project.clips()])
    label_oracle(project, OracleLabelSettings())
    pretend_people(project, rng)
    pretend_training(project, rng)
    folders = [f"{name}={temporary / name}" for name in ("base", "dense")]
    contestants(temporary)
    evaluate(project, EvaluateSettings(videos=tuple(folders)))
    return project


def real_clips(folder: Path) -> Path:
    """A folder as a user would bring one, with a file that cannot be taken."""
    folder.mkdir()
    rows = [["file_name", "caption", "source", "licence"]]
    for item in range(CLIPS):
        scene = draw_scene(SEED, item)
        write_video(folder / f"{item:03d}.mp4", render(scene), FPS)
        rows.append([f"{item:03d}.mp4", scene.attributes.caption, "tiny world", "CC0-1.0"])
    (folder / "broken.mp4").write_bytes(b"no video")
    rows.append(["broken.mp4", "a broken file", "tiny world", "CC0-1.0"])
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def pair_of(project: Project, clip: Clip, rng: np.random.Generator) -> Pair:
    """Two copies of a clip, each bent in some of its seconds."""
    frames, _ = read_video(project.media_path(clip.media))
    sides = [bent(frames, rng) for _ in "ab"]
    recipe = {"screenshot": clip.id}
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=clip.id,
        prompt=clip.caption,
        mode="guided",
        split=clip.split,
        frames=clip.frames,
        fps=clip.fps,
        width=clip.width,
        height=clip.height,
        eta=float(rng.uniform(0.65, 0.8)),
        model_hash="none",
        vae_hash="none",
        media_a=adopt(project, sides[0]),
        media_b=adopt(project, sides[1]),
        latents=None,
        distance=float(np.abs(sides[0].astype(float) - sides[1]).mean() / 50),
        near_identical=False,
    )


def bent(frames: Frames, rng: np.random.Generator) -> Frames:
    """Waves through each second with its own strength, none through some."""
    result = frames.copy()
    for second in range(math.ceil(len(frames) / FPS)):
        strength = 4 * rng.choice([0, 0, 0.5, 1])
        for number in range(int(second * FPS), min(int((second + 1) * FPS), len(frames))):
            shifts = np.round(strength * np.sin(np.arange(frames.shape[1]) / 3 + number)).astype(int)
            for row, shift in enumerate(shifts):
                result[number, row] = np.roll(frames[number, row], shift, axis=0)
    return result


def adopt(project: Project, frames: Frames) -> str:
    """Store a video."""
    file = project.root / "new.mp4"
    write_video(file, frames, FPS)
    return project.adopt(file)


def pretend_people(project: Project, rng: np.random.Generator) -> None:
    """Two people who mostly say what the simulated annotator says; the second one likes the left side."""
    labels = []
    for label in list(project.labels())[:120]:
        for person, bias in (("5d41c8e2", 0.0), ("9f0b13aa", 0.35)):
            order = "ab" if rng.random() < 0.5 else "ba"
            right = label.choice if rng.random() < 0.85 else str(rng.choice(["a", "tie", "b"]))
            labels.append(
                Label.make(
                    pair=label.pair,
                    seen=label.seen,
                    segment=label.segment,
                    segment_seconds=label.segment_seconds,
                    choice=order[0] if rng.random() < bias else right,
                    annotator_kind="human",
                    annotator=person,
                    annotator_version=PAGE,
                    assignment=f"{person} {label.pair}",
                    order_shown=order,
                    milliseconds=int(rng.integers(1500, 6000)),
                )
            )
    project.add_labels(labels)


def pretend_training(project: Project, rng: np.random.Generator) -> None:
    """A log as a training writes it, with one alarm."""
    folder = project.run_folder("dense")
    facts = {"kind": "training", "status": "done", "method": "dense", "beta": 500.0, "pairs": CLIPS, "seconds": 186.0}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "settings.yaml").write_text("method: dense\nlr: 0.0001\nsteps: 300\nbeta: 500\n")
    saw = (
        "over 20 steps the winners' error rose too, by 0.00021 (the losers' by 0.00054): the model unlearns what both "
    )
    alarm = {"name": "displacement", "saw": saw + "videos share", "remedy": "a smaller --lr or --anchor 10"}
    with (folder / "log.jsonl").open("w") as file:
        for step in range(1, STEPS + 1):
            share = step / STEPS
            row = log_row(step, share, rng) | ({"alarms": [alarm]} if step == 210 else {})
            if step % 30 == 0:
                row["validation_loss"] = math.log(2) - 0.05 * share + 0.03 * max(0, share - 0.6)
            print(json.dumps(row), file=file)


def log_row(step: int, share: float, rng: np.random.Generator) -> dict[str, Any]:
    """One optimiser step."""
    seen = {
        "accuracy": 0.5 + 0.22 * share + rng.normal(0, 0.05),
        "winner_delta": -2e-4 * share + 4e-4 * max(0, share - 0.6) + rng.normal(0, 5e-5),
        "loser_delta": 6e-4 * share + rng.normal(0, 5e-5),
    }
    levels = {f"{0.2 * k:.1f}": seen | {"accuracy": seen["accuracy"] + 0.03 * (2 - k), "pairs": 2} for k in range(5)}
    return {
        "step": step,
        "loss": math.log(2) - 0.07 * share + rng.normal(0, 0.02),
        **seen,
        "pair_accuracy": seen["accuracy"] + 0.04,
        "inside_median": 0.35 * share + abs(rng.normal(0, 0.01)),
        "loser_dominated": 0.5 + 0.1 * share + rng.normal(0, 0.05),
        "grad_norm": 1 + abs(rng.normal(0, 0.3)),
        "by_sigma": levels,
        "lr": 1e-4,
        "seconds": 0.62,
    }


def contestants(temporary: Path) -> None:
    """Finished clips: the base's are bent in some seconds, the tuned model's in fewer."""
    for name in ("base", "dense"):
        (temporary / name).mkdir()
        rows = [["file_name", "caption"]]
        for item in range(PROMPTS):
            scene, rng = draw_scene(SEED + 1, item), np.random.default_rng(item)
            frames = render(scene)
            worse = bent(frames, rng)
            clip = (
                worse if name == "base" else np.where(np.arange(len(frames))[:, None, None, None] < 16, frames, worse)
            )
            write_video(temporary / name / f"{item:04d}-0.mp4", clip.astype(np.uint8), FPS)
            rows.append([f"{item:04d}-0.mp4", scene.attributes.caption])
        with (temporary / name / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
