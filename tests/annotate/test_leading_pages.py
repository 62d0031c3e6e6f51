"""The leading side in a real browser: practice, guideline, review, dashboard, looking long enough, the wipe."""

from collections.abc import Callable
from pathlib import Path

import pytest
from annotate_browser import served
from annotate_pages import QUICK, colour_at, press, ready
from annotate_projects import all_labels, make_project
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from densedpo.annotate.handing_out import HandingOut
from densedpo.annotate.media import PlayerMedia
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.answers import opinions
from densedpo.store.assignments import find_assignment, finish
from densedpo.store.gold import Gold, add_gold
from densedpo.store.project import Project
from densedpo.store.schema import Label

SEGMENTS = 4
GUIDELINE = "# Our rules\n\nLook at the *edges*.\n\n- melting\n- flicker\n\n| sign | is |\n|---|---|\n| ✗ | worse |\n"
WIDE = {"overlap": 2, "practice": 1}


def link(project: Project, name: str, role: people.Role) -> str:
    made = people.add_person(project, name, role)
    return f"/join/{people.invite(project, made.id)}"


def all_ties(project: Project) -> None:
    """The first pair becomes gold."""
    first = next(iter(project.pairs())).id
    rows = (Gold(pair=first, segment=n, aspect="overall", choice="tie", origin="file") for n in range(SEGMENTS))
    assert add_gold(project, rows) == SEGMENTS


def label_five(project: Project, name: str, says: tuple[str, ...]) -> None:
    """Somebody labels five pairs so, without a browser."""
    settings = AnnotateSettings(overlap=2, gold_rate=0)
    person = people.add_person(project, name, "annotator")
    hands = HandingOut(project, settings, PlayerMedia(project, 0))
    for _ in range(5):
        held = hands.next(person, review=False)
        assert held is not None
        project.add_labels(
            Label.make(
                pair=held.pair,
                seen=held.seen,
                segment=segment,
                segment_seconds=project.settings.segment_seconds,
                choice=choice,
                annotator_kind="human",
                annotator=person.id,
                assignment=held.id,
                order_shown=held.order_shown,
                milliseconds=1200,
            )
            for segment, choice in enumerate(says)
        )
        assert finish(project, held.id)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two people have labelled five pairs and differ on one segment of four; another is new, another gold."""
    project = make_project(tmp_path_factory.mktemp("team") / "project", pairs=7, **QUICK)
    all_ties(project)
    label_five(project, "Ann", ("a", "tie", "b", "a"))
    label_five(project, "Bob", ("a", "tie", "a", "a"))
    (project.root / "rules.md").write_text(GUIDELINE)
    return project


def serious(page: Page) -> list[str]:
    """What axe finds that is serious or critical, one line each: all its rules in light, the contrast in dark, too."""
    lines = []
    for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for each in Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]:
            if each["impact"] in ("serious", "critical"):
                lines += [f"{scheme} {page.url} {each['id']} {node['html'][:150]}" for node in each["nodes"]]
    page.emulate_media(color_scheme="light")
    return lines


def come_in(page: Page) -> None:
    """Accept the invitation that the page shows."""
    page.click("text=Begin")
    expect(page.locator(".words h1, #frame:not(:empty), #done:visible").first).to_be_attached()


def test_every_page_is_accessible(team: Project, browser: Browser) -> None:
    """axe, on every page and on what opens over it; axe needs scripts of its own, so this page lets them in."""
    trouble: list[str] = []
    with served(team, tokens=True, guideline=team.root / "rules.md", minimum_seconds=60, **WIDE) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 720}, bypass_csp=True)
        page.goto(url)
        trouble += serious(page)  # the door
        page.goto(url + link(team, "Lea", "lead"))
        trouble += serious(page)
        come_in(page)
        expect(page.locator(".words h1")).to_have_text("Our rules")
        trouble += serious(page)
        page.goto(url)
        ready(page)
        trouble += serious(page)
        for key, there in (("?", "#help"), ("g", "#guideline"), ("b", "#wipe")):
            press(page, key)
            expect(page.locator(there)).to_be_visible()
            trouble += serious(page)
            press(page, "Escape")
        page.goto(f"{url}/review")
        ready(page)
        trouble += serious(page)
        page.goto(f"{url}/lead")
        page.locator("summary").last.click()
        trouble += serious(page)
        page.locator("details[open] button").filter(has_text="Erase name").click()
        expect(page.locator("#sure")).to_be_visible()
        trouble += serious(page)
        page.goto(f"{url}/people")
        page.fill("[name=name]", "Eve")
        press(page, "Enter")
        expect(page.locator("#link")).to_be_visible()
        trouble += serious(page)
        page.close()
    with served(team, tokens=True, **WIDE) as url:
        page = browser.new_page(bypass_csp=True)
        page.goto(url + link(team, "Noa", "annotator"))
        come_in(page)
        ready(page)
        trouble += serious(page)
        press(page, *["ArrowDown"] * (SEGMENTS - 1), "ArrowLeft", "Enter")
        expect(page.locator("#feedback")).to_be_visible()
        trouble += serious(page)
        page.close()
    assert trouble == []


def test_practice_by_keyboard(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", **QUICK)
    all_ties(project)
    (project.root / "rules.md").write_text(GUIDELINE)
    with served(project, tokens=True, practice=1, guideline=project.root / "rules.md") as url:
        page = visit(url + link(project, "Ann", "annotator"))
        expect(page.locator("button")).to_be_focused()
        press(page, "Enter")
        expect(page.locator("h1")).to_have_text("Our rules")
        expect(page.locator("a.button")).to_be_focused()
        press(page, "Enter")
        ready(page)
        expect(page.locator("#practice")).to_have_text("Practice 1 of 1")
        press(page, "g")
        expect(page.locator("#guideline h1")).to_be_visible()
        press(page, "Escape", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowDown", "Enter")
        expect(page.locator("#feedback-title")).to_have_text("3 of 4 as they should be")
        expect(page.locator("#feedback tbody tr.bad")).to_have_text("Segment 3left is bettertie✗")
        expect(page.locator("#feedback-next")).to_contain_text("Now the real pairs begin")
        press(page, "Enter")
        expect(page.locator("#practice")).to_be_hidden()
        expect(page.locator("#question")).to_contain_text("Segment 1 of 4")
        press(page, "ArrowDown")
        expect(page.locator("#saved")).to_have_text("Saved")
    assert [label.aspect for label in all_labels(project)] == ["qualify:overall"] * 4 + ["overall"]


def test_a_reviewer_settles_by_keyboard(team: Project, visit: Callable[..., Page]) -> None:
    with served(team, tokens=True, **WIDE) as url:
        page = visit(url + link(team, "Rea", "reviewer"))
        come_in(page)
        page.goto(f"{url}/review")
        ready(page)
        expect(page.locator("#question")).to_have_text("Segment 3 of 4 – which one is better?")
        expect(page.locator("#opinions li")).to_have_count(2)
        cells = page.locator("#timeline button")
        expect(cells).to_have_count(SEGMENTS)
        assert [cells.nth(place).is_disabled() for place in range(SEGMENTS)] == [True, True, False, True]
        shown = {page.locator("#opinions li").nth(place).get_attribute("data-choice") for place in range(2)}
        assert shown == {"left", "right"}
        press(page, "ArrowDown")
        expect(page.locator("#saved")).to_have_text("Saved")
        press(page, "Enter")
        expect(page.locator("#pace")).to_contain_text("1 of ")
    decided = [label for label in team.labels() if label.annotator_version == "review-1"]
    assert {(label.segment, label.choice) for label in decided} == {(2, "tie")}
    held = find_assignment(team, decided[0].assignment or "")
    assert held is not None and (held.kind, held.state) == ("review", "done")


def test_a_lead_sees_the_work_and_stops_somebody(team: Project, visit: Callable[..., Page]) -> None:
    gus = people.add_person(team, "Gus", "annotator")
    with served(team, tokens=True, **WIDE) as url:
        page = visit(url + link(team, "Lia", "lead"))
        come_in(page)
        page.goto(f"{url}/lead")
        expect(page.locator("#complete")).to_contain_text("5 of 6 pairs complete")
        expect(page.locator("#alpha")).to_contain_text("Krippendorff")
        bob = page.locator("#everybody tr").filter(has_text="Bob")
        expect(bob).to_contain_text("1.2 s")

        def move(name: str, wish: str) -> None:
            menu = page.locator(f"summary[aria-label='Change {name}']")
            menu.focus()
            press(page, "Enter")
            button = page.get_by_role("button", name=wish, exact=True)
            expect(button).to_be_visible()
            button.focus()
            press(page, "Enter")

        move("Bob", "Retire")
        expect(bob).to_contain_text("retired")
        move("Bob", "Set labels aside…")
        expect(page.locator("#sure")).to_be_visible()
        press(page, "Escape")
        expect(page.locator("#sure")).to_be_hidden()
        expect(bob).not_to_contain_text("set aside")
        move("Bob", "Set labels aside…")
        page.locator("#sure .primary").focus()
        press(page, "Enter")
        expect(bob).to_contain_text("set aside")
        expect(page.locator("#complete")).to_contain_text("0 of 6 pairs complete")
        move("Bob", "Let labels count again")
        expect(page.locator("#complete")).to_contain_text("5 of 6 pairs complete")
        move("Gus", "Erase name…")
        page.locator("#sure .primary").focus()
        press(page, "Enter")
        expect(page.locator("#everybody tr").filter(has_text="(erased)")).to_have_count(1)
        size = "() => [document.documentElement.scrollWidth, innerWidth]"
        assert page.evaluate(size) == [1280, 1280]
    assert all(not each.aside for each in opinions(team.labels(superseded=True)))
    gone = people.find_person(team, gus.id)
    assert gone is not None and gone.name == people.ERASED


def test_a_choice_waits_until_one_has_looked(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1, **QUICK)
    with served(project, minimum_seconds=3) as url:
        page = visit(url)
        ready(page)
        press(page, "ArrowLeft")
        expect(page.locator("#notice")).to_contain_text("Look for at least 3 s")
        expect(page.locator("#look")).to_be_hidden()  # once 3 s have passed
        press(page, "ArrowLeft")
        expect(page.locator("#question")).to_contain_text("Segment 2 of 4")
        expect(page.locator("#look")).to_contain_text("s more")
        expect(page.locator("#saved")).to_have_text("Saved")
    assert len(all_labels(project)) == 1


def test_the_wipe_shows_both_on_one_picture(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1, **QUICK)
    with served(project) as url:
        page = visit(url)
        ready(page)
        press(page, " ", "b")
        expect(page.locator("#wipe")).to_be_visible()
        left, right = colour_at(page, "#left", 40, 380), colour_at(page, "#right", 340, 380)
        assert colour_at(page, "#wipe", 40, 380) == left and colour_at(page, "#wipe", 340, 380) == right != left
        press(page, *["Shift+ArrowRight"] * 9)
        assert colour_at(page, "#wipe", 340, 380) == colour_at(page, "#left", 340, 380)
        page.locator("#wipe").hover(position={"x": 4, "y": 20})
        assert colour_at(page, "#wipe", 40, 380) == colour_at(page, "#right", 40, 380)
        press(page, "b")
        expect(page.locator("#left")).to_be_visible()


def test_the_next_pairs_file_is_there_before_the_pair(visit: Callable[..., Page], tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=2, **QUICK)
    with served(project) as url:
        page = visit(url)
        with page.expect_response(lambda got: "/media/" in got.url and got.request.resource_type == "fetch") as ahead:
            ready(page)
        assert ahead.value.finished() is None
        press(page, *["ArrowDown"] * SEGMENTS, "Enter")
        expect(page.locator("#pace")).to_contain_text("1 of 2 pairs")
        expect(page.locator("#loading")).to_be_hidden()
        expect(page.locator("#question")).to_contain_text("Segment 1 of 4")
        assert page.locator("#source").get_attribute("src") == ahead.value.url.removeprefix(url)
        sizes = page.evaluate(
            "(url) => performance.getEntriesByName(url).map((each) => each.transferSize)", ahead.value.url
        )
        assert sizes[0] > 0 and sizes[1:] == [0]  # fetched once; the player had it from the cache
