"""Makes the screenshots of docs/annotate.md: `python scripts/annotate_screenshots.py [FOLDER]` (default docs/images).

Needs Chromium. The videos are the tiny world's, drawn large; the worse ones are bent or blurred in some segments. What
the dashboard shows is drawn at random: nobody labelled these pairs.
"""

import contextlib
import datetime
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from densedpo.annotate.app import create_app
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.answers import PAGE, stored_aspect
from densedpo.store.assignments import Assignment, Kind, assignment_id
from densedpo.store.gold import Gold, add_gold
from densedpo.store.people import writing
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Clip, Label, Pair, clip_id, recipe_id
from densedpo.store.tables import assignment
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
        leading(browser, make_project(Path(temporary) / "team", pairs=60), folder)
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
    press(page, "b")
    page.wait_for_timeout(400)
    page.screenshot(path=folder / "annotate-wipe.png")
    press(page, "b", "ArrowRight", "ArrowRight", "ArrowLeft")
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


def leading(browser: Browser, project: Project, folder: Path) -> None:
    """The dashboard, a practice pair's feedback, the guideline, and a reviewer's page."""
    pairs = [pair.id for pair in project.pairs()]
    add_gold(project, (gold(pair, segment) for pair in pairs[-6:] for segment in range(5)))
    pretend_labels(project, pairs)
    tokens = {role: people.invite(project, people.add_person(project, name, role).id) for role, name in ROLES.items()}
    guideline = project.root / "guideline.md"
    guideline.write_text(GUIDELINE)
    write_example(project.root / "melting.png")
    with served(project, tokens=True, guideline=guideline, practice=2, show_real=True) as url:
        for scheme in ("light", "dark"):
            page = entered(browser, f"{url}/join/{tokens['lead']}", scheme)
            page.goto(f"{url}/lead")
            expect(page.locator("#everybody tr")).to_have_count(8)
            page.screenshot(path=folder / f"annotate-dashboard-{scheme}.png")
            page.close()
        page = entered(browser, f"{url}/join/{tokens['annotator']}", "light")
        expect(page.locator("h1")).to_be_visible()
        page.screenshot(path=folder / "annotate-guideline.png")
        page.click("text=Begin")
        painted(page)
        press(page, "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "Enter")
        expect(page.locator("#feedback")).to_be_visible()
        page.screenshot(path=folder / "annotate-practice.png")
        page.close()
        page = entered(browser, f"{url}/join/{tokens['reviewer']}", "light")
        page.goto(f"{url}/review")
        painted(page)
        press(page, "ArrowLeft")
        page.wait_for_timeout(600)
        page.screenshot(path=folder / "annotate-review.png")
        page.close()


TRUE = ("a", "tie", "b", "a", "b")
ROLES: dict[people.Role, str] = {"lead": "Lea", "reviewer": "Rea", "annotator": "Noa"}
GUIDELINE = """# What to look for

Compare the two videos **second by second**. Say which one is better, or that neither is.

1. **Shape.** The thing keeps its form. Bent or torn edges are worse, however short.
2. **Motion.** It moves as the prompt says, without jumps.
3. **Colour.** It keeps its colour from the first frame to the last.

![A shape whose edge is torn](melting.png)

*Torn*, in the middle of a clip: the other side wins this second, even if it is a little less sharp.

A little motion blur is fine. When both are equally good or bad, choose *tie*.
"""


def write_example(file: Path) -> None:
    """A picture for the guideline."""
    scene = draw_scene(SEED, 1, frames=FRAMES)
    frames = render(replace(scene, centres=scene.centres * 4, radius=4 * scene.radius), 192)
    torn = frames[20].copy()
    for row in range(192):
        torn[row] = np.roll(torn[row], round(9 * np.sin(row / 7)), axis=0)
    Image.fromarray(np.concatenate([frames[20], np.full((192, 8, 3), 255, np.uint8), torn], axis=1)).save(file)


def gold(pair: str, segment: int) -> Gold:
    """A known answer."""
    return Gold(pair=pair, segment=segment, aspect="overall", choice=TRUE[segment], origin="file")


def pretend_labels(project: Project, pairs: list[str]) -> None:
    """Five people have labelled for a day, each as well as their number says."""
    rng, now = np.random.default_rng(SEED), datetime.datetime.now(datetime.UTC)
    truth = {pair: rng.choice(["a", "b", "tie"], 5, p=[0.4, 0.4, 0.2]) for pair in pairs}
    truth |= dict.fromkeys(pairs[-6:], np.array(TRUE))
    team = [people.add_person(project, name, "annotator") for name in ("Ann", "Bela", "Cho", "Dara", "Eli")]
    skill = dict(zip((each.id for each in team), (0.93, 0.88, 0.9, 0.55, 0.84), strict=True))
    given: list[tuple[people.Person, str, Kind, int]] = []
    for place, pair in enumerate(pairs[:46]):
        one, two = rng.choice(len(team), 2, replace=False)
        given += [(team[one], pair, "work", 0), (team[two], pair, "work", 1)][: 2 if place < 40 else 1]
    for each in team:
        given += [(each, pair, "gold", 0) for pair in pairs[-6:-1]]
        done = [pair for person, pair, kind, _ in given if person is each and kind == "work"]
        given += [(each, pair, "repeat", 0) for pair in done[:3]]
    given = [given[int(place)] for place in rng.permutation(len(given))]
    rows, labels = [], []
    for number, (person, pair, kind, slot) in enumerate(given):
        at = now - datetime.timedelta(hours=float(21 * (1 - number / len(given)) ** 2))
        held = pretend_assignment(person.id, pair, kind, slot, at)
        rows.append(asdict(held))
        for segment, true in enumerate(truth[pair]):
            says = true if rng.random() < skill[person.id] else rng.choice(["a", "b", "tie"])
            if person.name == "Dara" and rng.random() < 0.5:
                says = held.order_shown[0]
            labels.append(pretend_label(project, held, segment, str(says), int(rng.integers(1500, 5200)), at))
    with writing(project, "assignment") as connection:
        connection.execute(sa.insert(assignment), rows)
    project.add_labels(labels)
    people.set_state(project, team[3].id, "paused")


def pretend_assignment(person: str, pair: str, kind: Kind, slot: int, at: datetime.datetime) -> Assignment:
    """A pair handed in at that time."""
    moment = at.isoformat(timespec="microseconds")
    return Assignment(
        id=assignment_id(person, pair, kind),
        pair=pair,
        person=person,
        slot=slot,
        order_shown="ab" if (int(pair[:2], 16) + slot + (kind == "repeat")) % 2 else "ba",
        seen="0" * 64,
        state="done",
        lease_until=moment,
        created=moment,
        finished=moment,
        kind=kind,
    )


def pretend_label(
    project: Project, held: Assignment, segment: int, choice: str, milliseconds: int, at: datetime.datetime
) -> Label:
    """An answer given at that time."""
    label = Label.make(
        pair=held.pair,
        seen=held.seen,
        segment=segment,
        segment_seconds=project.settings.segment_seconds,
        choice=choice,
        aspect=stored_aspect(held.kind, "overall"),
        annotator_kind="human",
        annotator=held.person,
        annotator_version=PAGE,
        assignment=held.id,
        order_shown=held.order_shown,
        milliseconds=milliseconds,
    )
    return replace(label, created=at.isoformat(timespec="microseconds"))


def entered(browser: Browser, link: str, scheme: Any) -> Page:
    """A page behind an invitation."""
    page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    page.goto(link)
    page.click("button")
    return page


def painted(page: Page) -> None:
    """Wait for the first frame."""
    expect(page.locator("#frame")).not_to_be_empty(timeout=60_000)
    page.wait_for_timeout(900)


def opened(browser: Browser, url: str, scheme: Any) -> Page:
    """The labelling page with its first frame painted."""
    page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    page.goto(url)
    painted(page)
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


def make_project(root: Path, pairs: int = 3) -> Project:
    """Pairs of scenes of the tiny world; from the fourth on they show the first three again."""
    project = Project.create(root, ProjectSettings(frames=FRAMES, fps=FPS, width=SIZE, height=HEIGHT))
    shape: dict[str, Any] = {"frames": FRAMES, "fps": FPS, "width": SIZE, "height": HEIGHT}
    made: list[tuple[Clip, str, str]] = []
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
        media = [adopt(project, bent(frames, 0.02, range(14, 30))), adopt(project, bent(frames, 0.04, range(8)))]
        made.append((clip, *media))
    project.add_pairs(pair_of(number, *made[number % 3], shape) for number in range(pairs))
    return project


def pair_of(number: int, clip: Clip, media_a: str, media_b: str, shape: dict[str, Any]) -> Pair:
    """One pair."""
    recipe = {"screenshot": number}
    return Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=clip.id,
        prompt=clip.caption,
        mode="guided",
        split="train",
        **shape,
        eta=0.7,
        model_hash="none",
        vae_hash="none",
        media_a=media_a,
        media_b=media_b,
        latents=None,
        distance=None,
        near_identical=False,
    )


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
