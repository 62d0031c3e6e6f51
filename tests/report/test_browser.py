"""The report in a real browser, from file://, as a reader opens it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from report_study import CHOICES, Study

from densedpo.report import build_report


@pytest.fixture(scope="module")
def index(full: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(full.project, tmp_path_factory.mktemp("page") / "out", "dense", "test")


@pytest.fixture
def page(browser: Browser, index: Path) -> Iterator[Page]:
    """The open report; afterwards, nothing may have complained and nothing may have asked for the network."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url} {request.failure}"))
    page.on("request", lambda request: trouble.append(request.url) if request.url.startswith("http") else None)
    page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
    page.goto(index.as_uri())
    yield page
    page.close()
    assert [line for line in trouble if "net::ERR_ABORTED" not in line] == []  # a video paused while it loads


def test_videos_load_only_when_seen_and_then_play(page: Page) -> None:
    last = page.locator("#pairs video").last
    assert last.evaluate("video => video.readyState") == 0
    videos = page.locator("video:visible")
    assert videos.count() == 12
    for video in videos.all():
        video.scroll_into_view_if_needed()
        handle = video.element_handle()
        page.wait_for_function("video => video.duration > 0 && !video.paused && video.currentTime > 0", arg=handle)
        assert handle.evaluate("video => video.duration") == pytest.approx(17 / 8, abs=0.01)
        assert handle.evaluate("video => video.muted && video.loop")


def test_a_click_on_a_segment_goes_to_its_first_frame(page: Page) -> None:
    page.click("#play")
    figure = page.locator("#pairs figure").first
    figure.locator(".timeline button").nth(1).click()
    video, cursor = figure.locator("video").element_handle(), figure.locator(".cursor").element_handle()
    # Segment 2 starts with frame 8: sought in its middle, at 8.5 / 8 s; the cursor stands there too, at 8.5 of 17.
    page.wait_for_function("video => Math.abs(video.currentTime - 8.5 / 8) < 1e-3 && !video.seeking", arg=video)
    page.wait_for_function("cursor => Math.abs(parseFloat(cursor.style.left) - 100 * 8.5 / 17) < 0.1", arg=cursor)
    assert video.evaluate("video => video.paused")


def test_the_cursor_follows_the_playing_video(page: Page) -> None:
    figure = page.locator("#pairs figure").first
    figure.scroll_into_view_if_needed()
    cursor = figure.locator(".cursor").element_handle()
    page.wait_for_function("cursor => parseFloat(cursor.style.left) > 25", arg=cursor)
    page.wait_for_function("cursor => parseFloat(cursor.style.left) > 75", arg=cursor)


def test_one_switch_and_one_speed_for_all(page: Page) -> None:
    playing = "() => [...document.querySelectorAll('video')].filter(video => !video.paused).length"
    page.locator("#gallery").scroll_into_view_if_needed()
    page.wait_for_function(f"() => ({playing})() > 0")
    page.click("#play")
    page.wait_for_function(f"() => ({playing})() === 0")
    assert page.inner_text("#play") == "Play all"
    page.locator("#gallery video").first.hover()
    page.wait_for_function(f"() => ({playing})() === 1")
    page.click("#play")
    page.wait_for_function(f"() => ({playing})() > 1")
    page.click("[data-speed='0.25']")
    assert set(page.locator("video").evaluate_all("videos => videos.map(video => video.playbackRate)")) == {0.25}
    assert page.get_attribute("[data-speed='0.25']", "aria-pressed") == "true"
    assert page.get_attribute("[data-speed='1']", "aria-pressed") == "false"


def test_the_gallery_sorts(page: Page) -> None:
    shown = "cards => cards.filter(card => !card.hidden).map(card => Number(card.dataset.change))"
    page.click("text=Most improved")
    best = page.locator("#gallery figure").evaluate_all(shown)
    page.click("text=Most worsened")
    worst = page.locator("#gallery figure").evaluate_all(shown)
    assert best == sorted(best, reverse=True) and worst == sorted(worst) and best != worst
    page.locator("#gallery").evaluate("gallery => { gallery.dataset.shown = 3; }")
    page.click("text=Most improved")
    assert page.locator("#gallery figure").evaluate_all(shown) == best[:3]
    assert page.locator("#gallery figure:visible").count() == 3
    page.click("text=In order")
    orders = page.locator("#gallery figure").evaluate_all("cards => cards.map(card => Number(card.dataset.order))")
    assert orders == list(range(8))


def test_curves_can_be_read(page: Page) -> None:
    panel = page.locator(".panel").first
    panel.scroll_into_view_if_needed()
    box = panel.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * (48 + 298 / 2) / 360, box["y"] + box["height"] / 2)
    assert panel.locator(".at").inner_text() in ("step 20", "step 21")
    assert page.locator(".panel").nth(1).locator(".at").inner_text() == panel.locator(".at").inner_text()
    page.mouse.move(0, 0)
    assert panel.locator(".at").inner_text() == "end"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(browser: Browser, index: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(index.as_uri())
    paper, ink = page.evaluate(
        "() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; }"
    )
    page.close()
    assert (brightness(paper) > brightness(ink)) == (scheme == "light")
    assert abs(brightness(paper) - brightness(ink)) > 180


def brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour[4:-1].split(","))
    return (red + green + blue) / 3


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, index: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(index.as_uri())
    overflow = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    assert overflow == 0


def test_without_a_script_everything_is_still_there(browser: Browser, index: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(index.as_uri())
    assert page.locator("video:visible").count() == 12
    assert page.locator(".timeline button:visible").count() == 2 * len(CHOICES)
    context.close()


def test_tiny_clips_are_enlarged_crisply(page: Page) -> None:
    style = page.locator("video").first.evaluate("video => getComputedStyle(video).imageRendering")
    assert style == "pixelated"
