"""How quickly the results page opens: `python benchmarks/report_opening.py --clips 2000 --repeats 5`.

Makes an evaluation of that many clips (five contestants, two seeds a prompt; a few pictures, each clip a file of its
own), builds its report, and opens `results.html` from file:// in a new profile of Chromium each time. Prints the time
from navigation until the page answers (the chart and the first rows are painted), how much of it the page's own thread
was computing, which a busy machine does not lengthen, and how many media it asked for before anything was opened.
Wanted: under 2 seconds, and none.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from densedpo.evaluation.results import compare, write_results
from densedpo.files import write_text_atomic
from densedpo.metrics import find_metrics
from densedpo.report import build_report
from densedpo.store.project import Project, ProjectSettings
from densedpo.video.io import write_video

CONTESTANTS = ("base", "dense", "flow", "vanilla", "sft")
METRICS = (
    "visual_quality",
    "text_alignment",
    "temporal_consistency",
    "dynamic_degree",
    "motion_strength",
    "warping_error",
    "temporal_flickering",
    "sharpness",
    "freeze_share",
)
WORDS = "a red blue small large dog ball train runs jumps slowly through rain in the bright evening city while it snows"
SEEDS, PICTURES, LIMIT = 2, 8, 2.0
# When the page has said that it answers, and what it then shows has been painted.
WATCH = """
new MutationObserver((_, observer) => {
  if (document.documentElement?.dataset.ready !== "results") return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.answered = performance.now(); }));
}).observe(document, { attributes: true, subtree: true });
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="Folder for the report, so that it can be looked at.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = evaluation(Path(folder) / "project", asked.clips)
        began = time.monotonic()
        page = (
            build_report(project, asked.keep or Path(folder) / "report", evaluation_run="large").parent / "results.html"
        )
        built, size = time.monotonic() - began, page.stat().st_size / 1e6
        print(f"{asked.clips} clips: built in {built:.0f} s, page of {size:.2f} MB")
        opened = list(openings(page, asked.repeats))
    seconds = [each["ready"] for each in opened]
    media = max(each["media"] for each in opened)
    print(f"{opened[0]['rows']} rows, {opened[0]['dots']} dots; media asked for before any click: {media}")
    print("until it answers: " + ", ".join(f"{each:.2f}" for each in seconds) + " s")
    print("computing: " + ", ".join(f"{each['computing']:.2f}" for each in opened) + " s")
    print(f"median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s; wanted: under {LIMIT:g} s")


def evaluation(root: Path, clips: int) -> Project:
    """A project whose evaluation `large` has so many clips, scored at random around each prompt's own level."""
    project = Project.create(root, ProjectSettings(width=64, height=48, frames=9, fps=8.0))
    folder = project.run_folder("large")
    (folder / "settings.yaml").write_text("name: large\n")
    (folder / "run.json").write_text(json.dumps({"kind": "evaluation"}))
    pictures = [root / f"{number}.mp4" for number in range(PICTURES)]
    for number, file in enumerate(pictures):
        frames = np.random.default_rng(number).integers(0, 255, (9, 6, 8, 3), dtype=np.uint8)
        write_video(file, frames.repeat(8, axis=1).repeat(8, axis=2), 8.0)
    rows = list(score_lines(clips // (len(CONTESTANTS) * SEEDS)))
    for number, row in enumerate(rows):
        file = folder / row["video"]
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pictures[number % PICTURES], file)
    write_text_atomic(folder / "scores.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    known = find_metrics()
    results = compare(rows, CONTESTANTS, {name: known[name] for name in METRICS}, {}, motion_margin=0.1)
    write_results(folder / "results.json", results)
    return project


def score_lines(prompts: int) -> Iterator[dict[str, Any]]:
    draws = random.Random(0)
    for index in range(prompts):
        prompt = f"{index}: {' '.join(draws.choices(WORDS.split(), k=draws.randint(8, 40)))}"
        level = {name: draws.uniform(0.2, 0.8) for name in METRICS}
        for contestant in CONTESTANTS:
            for seed in range(SEEDS):
                scores = {name: level[name] + draws.gauss(0, 0.1) for name in METRICS}
                video = f"clips/{contestant}/{index:04d}-{seed}.mp4"
                yield {
                    "contestant": contestant,
                    "prompt": prompt,
                    "prompt_index": index,
                    "seed": seed,
                    "video": video,
                    "scores": scores,
                }


def openings(page: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Each opening of the page by a new Chromium, which starts with nothing in its caches."""
    with sync_playwright() as playwright:
        for _ in range(repeats):
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            yield opening(browser, page)
            browser.close()


def opening(browser: Browser, page: Path) -> dict[str, Any]:
    """Seconds until it answers, and what it asked for within another second."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    media: list[str] = []
    tab.on("request", lambda request: media.append(request.url) if "/media/" in request.url else None)
    meter = tab.context.new_cdp_session(tab)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.add_init_script(WATCH)
    tab.goto(page.as_uri(), wait_until="commit")
    ready = tab.wait_for_function("() => window.answered", timeout=60_000).json_value() / 1000
    metrics = {each["name"]: each["value"] for each in meter.send("Performance.getMetrics")["metrics"]}
    tab.wait_for_timeout(1000)
    count = "selector => document.querySelectorAll(selector).length"
    found = {"rows": tab.evaluate(count, "#rows li"), "dots": tab.evaluate(count, "#scatter .dot")}
    return {"ready": ready, "computing": metrics["TaskDuration"], "media": len(media)} | found


if __name__ == "__main__":
    main()
