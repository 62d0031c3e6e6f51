"""Makes the screenshots of docs/annotate.md: `python scripts/annotate_screenshots.py [FOLDER]` (default docs/images).

Needs Chromium. The videos are the tiny world's, drawn large; the worse ones are bent or blurred in some segments.
"""

import contextlib
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from densedpo.annotate.app import create_app
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Pair, clip_id, recipe_id
from densedpo.tinyworld.world import draw_scene, render
from densedpo.video.io import Frames, write_video

FRAMES, FPS, SIZE = 41, 8.0, 320  # five segments
HEIGHT = 180
CROP = slice(70, 70 + HEIGHT)  # rows: 16 to 9
SEED = 4


def main(folder: Path) -> None:
    """Take all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        project = make_project(Path(temporary) / "shapes")
        with served(project, show_real=True) as url:
            label_pages(browser, url, folder)
        aspects = ("visual_quality", "text_alignment", "temporal_consistency", "motion")
        with served(project, mode="both", aspects=aspects) as url:
            page = opened(browser, url, "light")
            press(page, *("ArrowLeft", "ArrowDown", "ArrowLeft", "ArrowRight", "ArrowLeft", "ArrowLeft"))
            page.screenshot(path=folder / "annotate-aspects.png")
        with served(project, tokens=True) as url:
            people_page(browser, project, url, folder)
        browser.close()


def label_pages(browser: Browser, url: str, folder: Path) -> None:
    """The player in light and dark, its help, and the difference view."""
    page = opened(browser, url, "light")
    press(page, "ArrowLeft", "ArrowDown", "2", "k")
    page.wait_for_timeout(700)
    page.screenshot(path=folder / "annotate-light.png")
    press(page, "?")
    page.screenshot(path=folder / "annotate-keys.png")
    press(page, "Escape", "v")
    page.wait_for_timeout(400)
    page.screenshot(path=folder / "annotate-difference.png")
    press(page, "v", "ArrowRight", "ArrowRight", "ArrowLeft")
    expect(page.locator("#saved")).to_have_text("Saved")
    page.close()
    page = opened(browser, url, "dark")
    page.screenshot(path=folder / "annotate-dark.png")
    press(page, "Enter")
    expect(page.locator("#pace")).to_contain_text("1 of 3")
    page.close()


def people_page(browser: Browser, project: Project, url: str, folder: Path) -> None:
    """Where a lead invites people."""
    token = people.invite(project, people.add_person(project, "Lea", "lead").id)
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{url}/join/{token}")
    page.click("text=Begin")
    page.goto(f"{url}/people")
    page.fill("[name=name]", "Ann")
    page.click("text=Invite")
    expect(page.locator("#link")).to_be_visible()
    page.locator("#link input").evaluate(
        "input => { input.value = input.value.replace(/join.*/, 'join/…'); input.blur(); }"
    )
    page.screenshot(path=folder / "annotate-people.png")
    page.close()


def opened(browser: Browser, url: str, scheme: Any) -> Page:
    """The labelling page with its first frame painted."""
    page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    page.goto(url)
    expect(page.locator("#frame")).not_to_be_empty(timeout=60_000)
    page.wait_for_timeout(900)
    return page


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        page.keyboard.press(key)


@contextlib.contextmanager
def served(project: Project, **settings: Any) -> Iterator[str]:
    """The application at a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(project, AnnotateSettings(**settings)), log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def make_project(root: Path) -> Project:
    """Three pairs of scenes of the tiny world."""
    project = Project.create(root, ProjectSettings(frames=FRAMES, fps=FPS, width=SIZE, height=HEIGHT))
    shape: dict[str, Any] = {"frames": FRAMES, "fps": FPS, "width": SIZE, "height": HEIGHT}
    for item in range(3):
        scene = draw_scene(SEED, item, frames=FRAMES)
        wide = scene.centres * (SIZE / 48, HEIGHT / 48) + (0, CROP.start)
        frames = render(replace(scene, centres=wide, radius=4 * scene.radius), SIZE)
        caption = scene.attributes.caption
        real = adopt(project, frames)
        clip = Clip(
            id=clip_id(caption, 0, *shape.values()),
            media=real,
            caption=caption,
            **shape,
            source="tinyworld",
            licence="CC0",
            split="train",
            origin=f"{item}.mp4",
        )
        project.add_clips([clip])
        recipe = {"screenshot": item}
        pair = Pair(
            id=recipe_id(recipe),
            recipe=recipe,
            clip=clip.id,
            prompt=caption,
            mode="guided",
            split="train",
            **shape,
            eta=0.7,
            model_hash="none",
            vae_hash="none",
            media_a=adopt(project, bent(frames, 0.02, range(14, 30))),
            media_b=adopt(project, bent(frames, 0.04, range(8))),
            latents=None,
            distance=None,
            near_identical=False,
        )
        project.add_pairs([pair])
    return project


def bent(frames: Frames, strength: float, where: range) -> Frames:
    """Waves through some of the frames."""
    result = frames.copy()
    for number in where:
        shifts = np.round(strength * SIZE * np.sin(np.arange(SIZE) / 14 + number)).astype(int)
        for row, shift in enumerate(shifts):
            result[number, row] = np.roll(frames[number, row], shift, axis=0)
    return result


def adopt(project: Project, frames: Frames) -> str:
    """Store a video."""
    file = project.root / "new.mp4"
    write_video(file, np.ascontiguousarray(frames[:, CROP]), FPS)
    return project.adopt(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
