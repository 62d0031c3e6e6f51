"""The report in a real browser, from file://, as a reader opens it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from report_study import CHOICES, Study

from densedpo.report import build_report

OURS = ("index.html", "data.html", "labels.html", "training.html")


@pytest.fixture(scope="module")
def index(team: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(team.project, tmp_path_factory.mktemp("page") / "out", "dense", "test")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; afterwards, nothing may have complained and nothing may have asked for the network."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url} {request.failure}"))
    page.on("request", lambda request: trouble.append(request.url) if request.url.startswith("http") else None)
    page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
    yield page
    page.close()
    assert [line for line in trouble if "net::ERR_ABORTED" not in line] == []  # a video paused while it loads


@pytest.fixture
def data(page: Page, index: Path) -> Page:
    """The open data page."""
    page.goto(index.with_name("data.html").as_uri())
    return page


def test_a_walk_through_all_pages(page: Page, index: Path) -> None:
    page.goto(index.as_uri())
    for title in ("Data", "Labels", "Training", "Results", "Overview"):
        page.locator("nav").get_by_text(title, exact=True).click()
        expect(page.locator("nav [aria-current]")).to_have_text(title)
        expect(page.locator("h1").first).to_be_visible()
    page.goto(index.with_name("labels.html").as_uri())
    page.click("text=Its own page")
    expect(page.locator("h1")).to_contain_text("Krippendorff")


def test_videos_load_only_when_seen_and_then_play(data: Page) -> None:
    videos = data.locator("video")
    assert videos.count() == 4
    assert videos.last.evaluate("video => video.readyState") == 0
    for video in videos.all():
        video.scroll_into_view_if_needed()
        handle = video.element_handle()
        data.wait_for_function("video => video.duration > 0 && !video.paused && video.currentTime > 0", arg=handle)
        assert handle.evaluate("video => video.duration") == pytest.approx(17 / 8, abs=0.01)
        assert handle.evaluate("video => video.muted && video.loop")


@pytest.mark.parametrize("callbacks", [True, False])
def test_a_click_on_a_segment_goes_to_its_first_frame(page: Page, index: Path, callbacks: bool) -> None:
    if not callbacks:  # a busy browser may leave out the one that follows a seek
        page.add_init_script("HTMLVideoElement.prototype.requestVideoFrameCallback = () => 0")
    page.goto(index.with_name("data.html").as_uri())
    page.click("#play")
    figure = page.locator("#samples figure").first
    figure.locator(".timeline button").nth(1).click()
    video, cursor = figure.locator("video").element_handle(), figure.locator(".cursor").element_handle()
    # Segment 2 starts with frame 8: sought in its middle, at 8.5 / 8 s; the cursor stands there too, at 8.5 of 17.
    page.wait_for_function("video => Math.abs(video.currentTime - 8.5 / 8) < 1e-3 && !video.seeking", arg=video)
    page.wait_for_function("cursor => Math.abs(parseFloat(cursor.style.left) - 100 * 8.5 / 17) < 0.1", arg=cursor)
    assert video.evaluate("video => video.paused")


def test_the_cursor_follows_the_playing_video(data: Page) -> None:
    figure = data.locator("#samples figure").first
    figure.scroll_into_view_if_needed()
    cursor = figure.locator(".cursor").element_handle()
    data.wait_for_function("cursor => parseFloat(cursor.style.left) > 25", arg=cursor)
    data.wait_for_function("cursor => parseFloat(cursor.style.left) > 75", arg=cursor)


def test_one_switch_and_one_speed_for_all(data: Page) -> None:
    playing = "() => [...document.querySelectorAll('video')].filter(video => !video.paused).length"
    data.locator("#samples .cards").scroll_into_view_if_needed()
    data.wait_for_function(f"() => ({playing})() > 0")
    data.click("#play")
    data.wait_for_function(f"() => ({playing})() === 0")
    expect(data.locator("#play")).to_have_text("Play all")
    data.locator("video").last.hover()
    data.wait_for_function(f"() => ({playing})() === 1")
    data.click("#play")
    data.wait_for_function(f"() => ({playing})() > 1")
    data.click("[data-speed='0.25']")
    expect(data.locator("[data-speed='0.25']")).to_have_attribute("aria-pressed", "true")
    expect(data.locator("[data-speed='1']")).to_have_attribute("aria-pressed", "false")
    assert set(data.locator("video").evaluate_all("videos => videos.map(video => video.playbackRate)")) == {0.25}


def test_curves_can_be_read_run_by_run(page: Page, index: Path) -> None:
    page.goto(index.with_name("training.html").as_uri() + "#long")  # a link to a run unfolds it
    long, dense = page.locator("#long .curves"), page.locator("#dense .curves")
    expect(long.first).to_be_visible()
    svg = long.first.locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * (48 + 298 / 2) / 360, box["y"] + box["height"] / 2)
    expect(long.first.locator(".at")).to_have_text("step 300")
    expect(long.last.locator(".at")).to_have_text("step 300")
    expect(long.nth(6).locator(".readout b").first).to_have_text("0.7")  # accuracy at the lowest noise, half of the way
    expect(dense.first.locator(".at")).to_have_text("end")
    page.mouse.move(0, 0)
    expect(long.first.locator(".at")).to_have_text("end")


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
@pytest.mark.parametrize("font", ["sans-serif", "monospace"])  # what a machine has may be wide
def test_no_page_scrolls_sideways(page: Page, index: Path, width: int, font: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for name in OURS:
        page.goto(index.with_name(name).as_uri())
        page.add_style_tag(content=f":root {{ --text: {font} }}")
        page.evaluate("() => document.querySelectorAll('details').forEach(details => { details.open = true; })")
        overflow = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow == 0, name


def test_without_a_script_everything_is_still_there(browser: Browser, index: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(index.with_name("data.html").as_uri())
    assert page.locator("video:visible").count() == 4
    assert page.locator(".timeline button:visible").count() == 2 * len(CHOICES)
    context.close()


def test_on_paper_nothing_is_folded_away(page: Page, index: Path) -> None:
    page.goto(index.with_name("training.html").as_uri())
    assert page.locator("details:not([open])").count() > 0
    page.pdf()  # fires beforeprint
    expect(page.locator("details:not([open])")).to_have_count(0)
    page.emulate_media(media="print")
    expect(page.locator("nav")).to_be_hidden()
    expect(page.locator("#long .curves").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser: Browser, index: Path, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    for name in OURS:
        page.goto(index.with_name(name).as_uri())
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], name
    page.close()


def test_tiny_clips_are_enlarged_crisply(data: Page) -> None:
    style = data.locator("video").first.evaluate("video => getComputedStyle(video).imageRendering")
    assert style == "pixelated"
