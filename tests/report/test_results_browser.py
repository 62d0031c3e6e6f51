"""The results page in a real browser, from file://, as a team reads it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from report_study import IMAGE, SCRIPT
from results_study import FRAMES, frame_of, results_study, write_page

TIMES = "() => [...document.querySelectorAll('#viewer video')].map(video => video.currentTime)"
SHOWN = "() => [...document.querySelectorAll('#viewer video')].every(video => video.readyState >= 2 && !video.seeking)"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    return write_page(results_study(root), root / "out")


@pytest.fixture
def asked() -> list[str]:
    """The media that the page has asked for."""
    return []


@pytest.fixture
def page(browser: Browser, index: Path, asked: list[str]) -> Iterator[Page]:
    """The open page, in which nothing plays by itself; afterwards nothing may have complained or left the folder."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(60_000)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: trouble.append(request.url) if not request.url.startswith("file:") else None)
    page.on("request", lambda request: asked.append(request.url) if "/media/" in request.url else None)
    page.goto(index.as_uri())
    page.wait_for_selector("html[data-ready=results]")
    yield page
    page.close()
    assert [line for line in trouble if not line.startswith("data:")] == []


def opened(page: Page, prompt: str) -> None:
    page.locator("#rows button", has_text=prompt).click()
    page.wait_for_selector("#viewer[open]")
    page.wait_for_function(SHOWN)


def all_three_show(page: Page, frame: int) -> None:
    """Wait for it: a busy machine may paint a sought frame later than the browser says."""
    page.wait_for_function(SHOWN)
    end = time.monotonic() + 60
    while (shown := [frame_of(video.screenshot()) for video in page.locator("#viewer video").all()]) != [frame] * 3:
        assert time.monotonic() < end, shown
        page.wait_for_timeout(50)


def column(page: Page, rows: str = "#rows") -> list[str]:
    return page.locator(f"{rows} li:not([hidden]) .words").all_text_contents()


def test_nothing_loads_before_a_prompt_is_opened_and_then_only_its_clips(page: Page, asked: list[str]) -> None:
    page.mouse.wheel(0, 20_000)
    expect(page.locator("#rows li").last).to_be_visible()
    assert asked == []
    opened(page, "a red circle")
    assert {url.rsplit("/", 1)[1][:10] for url in asked} == {"base-0000-", "dense-0000", "flow-0000-"}


def test_clips_step_together_frame_by_frame(page: Page) -> None:
    opened(page, "a red circle")
    expect(page.locator("#reel-frame")).to_have_text(f"frame 1 of {FRAMES}")
    all_three_show(page, 0)
    for key in "..,.":
        page.keyboard.press(key)
    expect(page.locator("#reel-frame")).to_have_text(f"frame 3 of {FRAMES}")
    all_three_show(page, 2)
    page.locator("#reel-position").fill("40")
    all_three_show(page, 40)
    page.locator("#reel-position").fill("0")
    page.click("#reel-back")
    all_three_show(page, FRAMES - 1)


def test_clips_play_in_step_and_come_together_again_when_one_falls_behind(page: Page) -> None:
    opened(page, "a red circle")
    page.click("#reel-play")
    spread = f"() => {{ const times = ({TIMES})(); return Math.max(...times) - Math.min(...times); }}"
    page.wait_for_function(f"() => Math.min(...({TIMES})()) > 0.5 && ({spread})() < 1 / 8")  # less than a frame
    page.evaluate("() => { document.querySelectorAll('#viewer video')[1].currentTime -= 0.3; }")
    behind = page.evaluate(TIMES)
    page.wait_for_function(f"() => ({spread})() < 0.5 / 8 && Math.min(...({TIMES})()) < 7.5")
    assert min(page.evaluate(TIMES)) > behind[0] - 0.3  # by hurrying, not by beginning anew
    page.keyboard.press("Space")
    expect(page.locator("#reel-play")).to_have_text("Play")
    frame = int(page.inner_text("#reel-frame").split()[1]) - 1
    assert frame > 3
    all_three_show(page, frame)


def test_clips_begin_again_together_or_stop_at_the_end(page: Page) -> None:
    opened(page, "a red circle")
    page.click("#reel-speeds button[value='2']")
    page.locator("#reel-position").fill("56")
    page.click("#reel-play")
    page.wait_for_function(f"() => Math.max(...({TIMES})()) < 3 && Math.min(...({TIMES})()) > 0.1")
    page.click("#reel-loop")
    page.locator("#reel-position").fill("58")
    expect(page.locator("#reel-play")).to_have_text("Play")
    expect(page.locator("#reel-frame")).to_have_text(f"frame {FRAMES} of {FRAMES}")
    all_three_show(page, FRAMES - 1)


def test_a_dot_opens_its_prompt_by_keyboard_and_by_click(page: Page) -> None:
    dot = page.locator("#scatter .dot[data-k='1'][tabindex='0']")
    expect(dot).to_have_count(1)
    dot.focus()
    page.keyboard.press("ArrowRight")  # motion strength grows with the prompt's number
    page.keyboard.press("ArrowRight")
    expect(page.locator("#readout")).to_contain_text(f"{IMAGE} — base 1.20")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-prompt")).to_have_text(SCRIPT)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#scatter [data-prompt='1'] .dot[data-k='1']")).to_be_focused()
    page.locator("#scatter [data-prompt='3'] .dot[data-k='2']").click()
    expect(page.locator("#viewer-prompt")).to_have_text("a green star moves quickly")


def test_axes_can_be_chosen_and_better_is_always_further_on(page: Page) -> None:
    def height(k: int) -> float:
        box = page.locator(f"#scatter [data-prompt='0'] .dot[data-k='{k}']").bounding_box()
        assert box
        return box["y"]

    assert height(1) < height(0) < height(2)  # quality: dense above base above flow
    page.select_option("#up", label="Warping error")
    assert height(2) < height(0)  # flow errs less
    page.locator("#legend button", has_text="flow").click()
    expect(page.locator("#scatter .dot[data-k='2']")).to_have_count(0)
    expect(page.locator("#scatter .dot")).to_have_count(8)


def test_the_list_sorts_by_gain_and_filters(page: Page) -> None:
    first, star = "a red circle on black", "a green star moves quickly"
    assert column(page) == [star, IMAGE, SCRIPT, first]  # dense gains 0.0505, 0.0405, 0.031 and 0.0205
    assert page.locator("#rows .signed").all_text_contents() == ["+0.0505", "+0.0405", "+0.0310", "+0.0205"]
    page.select_option("#seed", "0")
    assert page.locator("#rows .signed").all_text_contents() == ["+0.0500", "+0.0400", "+0.0200", "–"]
    assert column(page)[-1] == SCRIPT  # the base has no score there
    page.select_option("#seed", "")
    page.select_option("#order", "loss")
    assert column(page) == [first, SCRIPT, IMAGE, star]
    page.fill("#filter", "MOVES green")
    assert column(page) == [star]
    expect(page.locator("#count")).to_have_text("1 of 4 prompts")
    page.fill("#filter", "")
    page.select_option("#against", "flow")
    page.select_option("#metric", label="Warping error")
    assert column(page) == [first, SCRIPT, IMAGE, star]  # lower is better: the last falls most
    assert column(page, "#best") == [star, IMAGE, SCRIPT, first] and page.text_content("#worst") == "No prompt."
    assert page.locator("#rows .bar-track.good").count() == 4
    page.select_option("#metric", label="Motion strength")
    assert page.text_content("#worst-title") == "Largest fall" and page.locator("#rows .good, #rows .bad").count() == 0


def test_the_viewer_goes_through_what_the_list_shows(page: Page) -> None:
    page.fill("#filter", "<")
    opened(page, IMAGE)
    expect(page.locator("#viewer-place")).to_have_text("Prompt 2, 1 of 2 in this order")
    expect(page.locator("#viewer-previous")).to_be_disabled()
    page.keyboard.press("n")
    expect(page.locator("#viewer-prompt")).to_have_text(SCRIPT)
    expect(page.locator("#viewer-next")).to_be_disabled()
    expect(page.locator("#viewer-screens .missing")).to_contain_text("not on disk")
    rows = page.locator("#viewer-scores tr")
    expect(rows.first).to_have_text("Visual quality (tiny world)–0.5400.499")
    page.locator("#viewer-seeds button", has_text="seed 1").click()
    expect(page.locator("#viewer video")).to_have_count(5)
    page.locator("#viewer-contestants button", has_text="flow").click()
    expect(page.locator("#viewer video")).to_have_count(4)
    page.locator("#viewer-seeds button", has_text="seed 0").click()
    expect(rows.first).to_have_text("Visual quality (tiny world)0.5100.541 +0.0310")


def test_the_command_of_a_clip_can_be_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, "a green star")
    page.select_option("#remake-of", "dense")
    command = """densedpo remake 'a team'"'"'s project' dense/0003-0 --evaluation test"""
    expect(page.locator("#remake-command")).to_have_text(command)
    page.click("#remake-copy")
    expect(page.locator("#remake-copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == command
    page.select_option("#remake-of", "flow")
    expect(page.locator("#remake-command")).to_contain_text("brought as finished clips")
    expect(page.locator("#remake-copy")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_and_reach_everything(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    assert found.violations_count == 0, found.generate_report()
    opened(page, "a red circle")
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("font", ["sans-serif", "monospace"])  # what a machine has may be wide
def test_the_page_never_scrolls_sideways(page: Page, width: int, font: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.add_style_tag(content=f":root {{ --text: {font} }}")
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    opened(page, "a red circle")
    box = page.locator("#viewer").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    assert (
        page.evaluate("() => { const d = document.getElementById('viewer'); return d.scrollWidth - d.clientWidth; }")
        == 0
    )


def test_on_paper_are_the_tables_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    for hidden in ("#filter", "#metric", "#up", "#readout"):
        expect(page.locator(hidden)).to_be_hidden()
    for kept in (".metrics >> nth=0", "#scatter", "#rows li >> nth=0"):
        expect(page.locator(kept)).to_be_visible()


def test_without_a_script_the_tables_are_still_there(browser: Browser, index: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(index.as_uri())
    assert page.locator("table.metrics:visible").count() == 2
    assert page.locator("noscript p").is_visible() and not page.locator("#browser").is_visible()
    context.close()
