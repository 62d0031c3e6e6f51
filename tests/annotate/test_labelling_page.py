"""The labelling page in a real browser: every frame it paints, a session by keyboard, a reload in the middle."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotate_browser import READ, WATCH, served
from annotate_pages import PIXEL, QUICK, SHAPE, press, ready
from annotate_projects import HOSTILE, all_labels, make_project
from playwright.sync_api import Browser, Page, expect

from densedpo.store import people
from densedpo.store.project import Project


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for something outside the page."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def painted_frames(page: Page, count: int) -> list[list[int]]:
    """Play, loop, step, and change speed, segment and length until `count` frames were painted."""
    page.evaluate(WATCH)
    rounds = (("2",), ("s",), (".", ".", ".", ","), (" ",), ("s",), ("w",), ("s",), ("4", ","), (",", ",", " "), ("w",))
    seen, turn = 0, 0
    while seen < count:
        press(page, *rounds[turn % len(rounds)])
        goal = min(count, seen + 12)
        turn += 1
        patience = 1.5 if page.inner_text("#play") == "Pause" else 0.3  # paused, it paints what it steps to
        with contextlib.suppress(AssertionError):
            until(lambda goal=goal: page.evaluate("() => window.painted.length") >= goal, patience)
        seen = page.evaluate("() => window.painted.length")
    rows: list[list[int]] = page.evaluate("() => window.painted")
    return rows


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.long)])
def test_the_sides_never_differ_and_no_frame_lies_outside_the_loop(
    visit: Callable[..., Page], tmp_path: Path, count: int
) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    with served(project) as url:
        page = visit(url)
        ready(page)
        rows = painted_frames(page, count)
    assert len(rows) >= count
    assert [row for row in rows if not row[0] == row[1] == row[2]] == []
    assert [row for row in rows if not row[3] <= row[0] < row[4]] == []
    assert len({row[0] for row in rows}) > 30  # of 49: all of it was played
    assert len({(row[3], row[4]) for row in rows}) >= 3


def test_without_the_frame_callback_a_notice_and_the_right_frames(browser: Browser, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    with served(project) as url:
        page = browser.new_page()
        page.add_init_script("delete HTMLVideoElement.prototype.requestVideoFrameCallback")
        page.goto(url)
        ready(page)
        expect(page.locator("#notice")).to_contain_text("cannot tell which frame it shows")
        page.evaluate(WATCH)
        press(page, "2")
        until(lambda: page.evaluate("() => window.painted.length") > 30)
        rows = page.evaluate("() => window.painted")
        page.close()
    assert [row for row in rows if not (row[0] == row[1] == row[2] and row[3] <= row[0] < row[4])] == []


def test_a_whole_session_by_keyboard(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", prompt=HOSTILE, **SHAPE)
    with served(project) as url:
        page = visit(url)
        ready(page)
        assert page.inner_text("#prompt") == HOSTILE
        expect(page.locator("#question")).to_have_text("Segment 1 of 5 – which one is better?")
        presses = press(page, "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft")
        expect(page.locator("#question")).to_contain_text("All answered")
        presses += press(page, "Enter")
        assert presses == 6  # what docs/annotate.md promises for a pair of 5 segments
        expect(page.locator("#pace")).to_contain_text("1 of 2 pairs")
        expect(page.locator("#question")).to_have_text("Segment 1 of 5 – which one is better?")
        first = stored(project)
        assert [choice in "ab" for choice in first] == [True, False, True, True, True]
        assert first[0] == first[4] != first[2] == first[3]

        press(page, "ArrowLeft", "u")  # a step back
        expect(page.locator("#question")).to_contain_text("Segment 1 of 5")
        press(page, "x")  # can't tell
        expect(page.locator("#reasons")).to_be_visible()
        press(page, "2")  # the second reason
        expect(page.locator("#question")).to_contain_text("Segment 2 of 5")
        press(page, "ArrowDown")
        expect(page.locator("#question")).to_contain_text("Segment 3 of 5")
        press(page, "j", "c")
        expect(page.locator("#comment")).to_be_visible()
        page.keyboard.type("the hand melts")
        press(page, "Control+Enter")
        expect(page.locator("#comment")).not_to_be_visible()
        press(page, "Enter")
        expect(page.locator("#notice")).to_contain_text("3 questions have no answer yet")
        press(page, "ArrowDown", "ArrowDown", "ArrowDown", "Enter")
        expect(page.locator("#done")).to_be_visible()
        press(page, "?")
        expect(page.locator("#help")).to_be_visible()
    labels = {
        label.segment: label for label in project.labels() if label.assignment != all_labels(project)[0].assignment
    }
    assert [labels[segment].choice for segment in range(5)] == ["skip", "tie", "tie", "tie", "tie"]
    assert labels[0].comment == "It is too short or too small to judge"
    assert labels[1].comment == "the hand melts"


def stored(project: Project) -> list[str]:
    return [label.choice for label in sorted(project.labels(), key=lambda label: label.segment or 0)]


def test_back_to_the_pair_before(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    with served(project) as url:
        page = visit(url)
        ready(page)
        press(page, *["ArrowDown"] * 4, "Enter")
        expect(page.locator("#pace")).to_contain_text("1 of 2 pairs")
        expect(page.locator("#question")).to_contain_text("Segment 1")
        press(page, "p")
        expect(page.locator("#question")).to_contain_text("All answered")
        press(page, "3", "ArrowLeft", "Enter")
        expect(page.locator("#question")).to_contain_text("Segment 1")
        until(lambda: len(list(project.labels())) == 4)
    assert [choice == "tie" for choice in stored(project)] == [True, True, False, True]


def test_a_reload_in_the_middle_loses_nothing(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **SHAPE)
    with served(project) as url:
        page = visit(url)
        ready(page)
        press(page, "ArrowLeft")
        until(lambda: len(all_labels(project)) == 1)
        answers = []

        def swallow(route: Any) -> None:
            """The server stores the answer, but its word never arrives; from then on it cannot be reached."""
            if not answers:
                answers.append(route.fetch())
            route.abort()

        page.route("**/api/answers", swallow)
        press(page, "ArrowDown", "ArrowRight")
        expect(page.locator("#saved")).to_contain_text("Not saved yet, trying again")
        assert len(all_labels(project)) == 2
        page.unroute("**/api/answers")
        page.reload()
        expect(page.locator("#question")).to_contain_text("Segment 4 of 5")
        expect(page.locator("#saved")).to_have_text("Saved")
        assert len(all_labels(project)) == 3  # none lost, none twice
        press(page, "u")
        expect(page.locator("#question")).to_contain_text("Segment 3 of 5")
        until(lambda: len(all_labels(project)) == 4)


def test_views_show_what_they_say(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    colour = PIXEL
    with served(project, show_real=True) as url:
        page = visit(url)
        ready(page)
        press(page, " ")
        sides = {name: page.evaluate(colour, [f"#{name}", 380, 380]) for name in ("left", "right")}
        assert sorted(max(range(3), key=rgb.__getitem__) for rgb in sides.values()) == [0, 2]  # red, blue
        press(page, "v")
        expect(page.locator("#difference")).to_be_visible()
        difference = page.evaluate(colour, ["#difference", 380, 380])
        expected = [abs(left - right) for left, right in zip(sides["left"], sides["right"], strict=True)]
        assert difference == pytest.approx(expected, abs=3)
        press(page, "v", "z", "z")
        expect(page.locator("#zoom")).to_contain_text("Zoom 4×")
        press(page, "Shift+ArrowRight", *["Shift+ArrowDown"] * 9)
        assert max(page.evaluate(colour, ["#left", 5, 5])) < 210  # below the white square now: plain colour
        press(page, "r")
        expect(page.locator("#real")).to_be_visible()
        until(lambda: page.evaluate(colour, ["#real-canvas", 380, 380])[1] > 120)
        assert page.evaluate(READ, "#real-canvas") < 49
        press(page, "Escape")
        expect(page.locator("#play")).to_have_text("Pause")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_fits_the_screen(visit: Callable[..., Page], tmp_path: Path, scheme: str) -> None:
    project = make_project(tmp_path / "project", prompt="a square walks " * 60, **SHAPE)
    aspects = ("visual_quality", "text_alignment", "temporal_consistency", "motion")
    with served(project, mode="both", aspects=aspects) as url:
        page = visit(url, color_scheme=scheme)
        ready(page)
        size = "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert page.evaluate(size) == [1280, 720]
        boxes = [page.locator(each).bounding_box() for each in ("#left", "#screens", "#timeline", ".transport", ".ask")]
        left, screens, *_ = boxes
        assert all(box and box["y"] >= 0 and box["y"] + box["height"] <= 720 for box in boxes)
        assert left and screens and left["width"] > 250
        assert left["y"] >= screens["y"] and left["y"] + left["height"] <= screens["y"] + screens["height"] + 1
        paper, ink = page.evaluate(
            "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (brightness(paper) > brightness(ink)) == (scheme == "light")
        assert abs(brightness(paper) - brightness(ink)) > 180


def brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour[4:-1].split(","))
    return (red + green + blue) / 3


def test_a_lead_invites_somebody_who_then_labels(browser: Browser, visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    token = people.invite(project, people.add_person(project, "Lea", "lead").id)
    with served(project, tokens=True) as url:
        page = visit(f"{url}/join/{token}")
        expect(page.locator("button")).to_be_focused()
        press(page, "Enter")
        ready(page)
        page.click("text=People")
        page.fill("[name=name]", "Ann")
        page.click("text=Invite")
        expect(page.locator("#link b")).to_have_text("Ann")
        link = page.input_value("#link input")
        expect(page.locator("#everybody tr")).to_have_count(2)
        other = browser.new_context().new_page()
        other.goto(link)
        other.click("text=Begin")
        ready(other)
        press(other, "ArrowLeft")
        (label,) = until(lambda: all_labels(project))
        assert label.annotator == next(each.id for each in people.people(project) if each.name == "Ann")
        assert other.locator("text=People").count() == 0
        other.click("text=Leave")
        expect(other.locator("h1")).to_have_text("You need an invitation")
        other.context.close()
