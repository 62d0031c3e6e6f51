"""An evaluation of three contestants whose clips bear their frames' numbers as brightness."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from report_study import FPS, SIZE, Study, score_line

from densedpo.report import page, words
from densedpo.report.results_page import results_page
from densedpo.report.runs import Run
from densedpo.store.project import Project, ProjectSettings
from densedpo.video.io import Frames

FRAMES = 64
DARKEST, STEP = 20, 3  # brightness of the first frame, and what each next one adds
NAME = "a team's project"


def numbered(_: int) -> Frames:
    levels = (DARKEST + STEP * np.arange(FRAMES)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (FRAMES, SIZE, SIZE, 3)).copy()


def frame_of(screenshot: bytes) -> int:
    """The number that a picture of a clip bears."""
    pixels = np.asarray(Image.open(io.BytesIO(screenshot)).convert("L"), dtype=np.float64)
    return round((float(np.median(pixels)) - DARKEST) / STEP)


def lines(prompts: int = 4, seeds: int = 2) -> list[dict[str, Any]]:
    """By prompt, dense gains 0.02 to 0.05 of quality and flow loses; flow errs less the more, and hardly moves."""
    found = []
    for index in range(prompts):
        for seed in range(seeds):
            quality, error, motion = 0.5 + 0.01 * index, 0.02 + 0.001 * seed, 1.0 + 0.1 * index
            base = {"visual_quality": quality, "warping_error": error, "motion_strength": motion}
            gain = 0.02 + 0.01 * index + 0.001 * seed
            dense = {"visual_quality": quality + gain, "warping_error": error, "motion_strength": 0.99 * motion}
            flow = {
                "visual_quality": quality - 0.01 - 0.001 * index,
                "warping_error": error - 0.01 - 0.001 * index,
                "motion_strength": 0.3 * motion,
            }
            for name, scores in (("base", base), ("dense", dense), ("flow", flow)):
                found.append(score_line(name, index, seed, **scores))
    return found


def results_study(root: Path) -> Study:
    """`flow` was brought as finished clips. Its clip of prompt 1, seed 0 is gone, and base has no quality there."""
    study = Study(Project.create(root / NAME, ProjectSettings(width=SIZE, height=SIZE, frames=33, fps=FPS)), numbered)
    found = lines()
    [gap] = [line for line in found if (line["contestant"], line["prompt_index"], line["seed"]) == ("base", 1, 0)]
    del gap["scores"]["visual_quality"]
    gap["unmeasured"] = {"visual_quality": "no shape in it"}
    folder = study.evaluate(found)
    (folder / "settings.yaml").write_text("name: test\nvideos:\n- flow=clips/flow\n")
    (folder / "clips" / "flow" / "0001-0.mp4").unlink()
    results = json.loads((folder / "results.json").read_text())
    results["not_run"] = {"vbench_dynamic_degree": "needs torchvision, install it with: pip install torchvision"}
    (folder / "results.json").write_text(json.dumps(results))
    return study


def write_page(study: Study, out: Path) -> Path:
    """results.html alone, in the shell of the report."""
    context = results_page(study.project, Run.open(study.project, "test"), out)
    environment = Environment(
        loader=FileSystemLoader(page.TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=words.number, percent=words.percent)
    shell = {"name": NAME, "page": "results.html", "pages": [("results.html", "Results")], "figures": {}}
    (out / "results.html").write_text(environment.get_template("results.html").render(shell | context))
    for name in ("report.css", "report.js"):
        (out / name).write_bytes((page.TEMPLATES / name).read_bytes())
    return out / "results.html"
