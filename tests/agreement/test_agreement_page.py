"""The agreement page: planted labellers get the numbers worked out by hand, and the page works from a file."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from agreement_projects import FRAMES, answer, give, new_project
from axe_playwright_python.sync_playwright import Axe

from densedpo.agreement import AgreementSettings, write_agreement
from densedpo.cli.agreement_command import agreement as agreement_command
from densedpo.errors import UserError
from densedpo.judges.static import StaticOutcome, record_static_test
from densedpo.store.answers import PAGE, REVIEW
from densedpo.store.gold import Gold, add_gold
from densedpo.store.project import Project
from densedpo.store.schema import Label

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUICK = AgreementSettings(resamples=20, shown=1)


def numbers(project: Project, **changes: Any) -> dict[str, Any]:
    report = write_agreement(project, QUICK.model_copy(update=changes))
    found: dict[str, Any] = json.loads(report.numbers.read_text())
    return found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Four pairs: gold, a good person, a poor machine, one who likes what is shown first, a judge with raw answers."""
    project = new_project(tmp_path_factory.mktemp("agreement") / "project", 4)
    give(project, "gold", "aaaa", "abab", "tttt", "bbbb", whole="a-tb", milliseconds=4000)
    give(project, "ann", "aaab", "abas", "tttt", "bbbb", milliseconds=2000)
    give(project, "clip-score", "abab", "abab", "aabb", "abab", whole="bbbb", kind="reward", annotator_version="7")
    give(project, "first", "aaaa", "aaaa", "----", "----", order_shown="ab")
    answer(project, "judge", [(0, "ab", 0, "a"), (0, "ba", 0, "b"), (1, "ab", 0, "a"), (1, "ba", 0, "a")])
    answer(project, "judge", [(2, "ab", 0, "t"), (2, "ab", 1, "t"), (3, "ab", 0, "s"), (1, "ab", 1, "b")])
    record_static_test(project, "vlm", "judge", "v1", StaticOutcome(moving=2, frozen=8, ties=1, failed=0))
    return project


def test_accuracy_against_gold_by_hand(labelled: Project) -> None:
    found = numbers(labelled, reference="gold")["against_reference"]
    assert sorted(found) == ["ann", "clip-score", "first"]
    # ann: 15 segments (one skipped), one b where gold says a. Gold decides 11 of them, ann too.
    ann = found["ann"]
    assert (ann["n"], ann["pairs"]) == (15, 4)
    assert ann["confusion"] == [[5, 0, 1], [0, 4, 0], [0, 0, 5]]
    assert ann["accuracy"]["value"] == pytest.approx(14 / 15, abs=1e-6)
    assert ann["accuracy_without_ties"]["value"] == pytest.approx(10 / 11, abs=1e-6)
    assert ann["decided"]["value"] == 1
    # clip-score, pair by pair: 2 of 4, 4 of 4, four choices on ties, 2 of 4.
    score = found["clip-score"]
    assert score["confusion"] == [[4, 0, 2], [2, 0, 2], [2, 0, 4]]
    assert score["accuracy_without_ties"]["value"] == pytest.approx(8 / 12, abs=1e-6)
    assert score["accuracy_without_ties"]["low"] <= 8 / 12 <= score["accuracy_without_ties"]["high"]


def test_nobody_is_compared_with_themselves(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 2, videos=False)
    give(project, "ann", "aaaa", "aaaa")
    alone = numbers(project)
    assert alone["against_reference"]["ann"]["n"] == 0
    assert alone["alpha"]["all"]["value"] is None
    give(project, "machine", "bbbb", "bbbb", kind="vlm", annotator_version="1")
    give(project, "machine", "bbbb", "bbbb", kind="vlm", annotator_version="2")
    found = numbers(project)["against_reference"]
    assert {name: each["accuracy"]["value"] for name, each in found.items()} == {
        "ann": 0,
        "machine 1": 0,
        "machine 2": 0,
    }


def test_people_can_be_the_reference(labelled: Project) -> None:
    found = numbers(labelled, reference="people")["against_reference"]
    # Segment 3 of pair 0 (a, b, a) is a, segment 1 of pair 1 (b, b, a) is b: as gold says. Only segment 3 of pair 1 is
    # not: gold says b, first a, ann cannot tell. A draw is a tie.
    assert found["clip-score"]["confusion"] == [[4, 0, 2], [2, 0, 3], [2, 0, 3]]


def test_where_they_agree_by_hand(labelled: Project) -> None:
    found = numbers(labelled, reference="gold")
    by_segment = found["by_segment"]["ann"]
    assert [cell["segment"] for cell in by_segment] == [0, 1, 2, 3]
    assert [cell["accuracy_without_ties"]["value"] for cell in by_segment] == [1, 1, 1, 0.5]
    motion = found["by_motion"]
    assert motion["pairs"] == 4
    assert sum(cell["n"] for cell in motion["cells"]["ann"]) == 15
    assert sorted(motion["limits"]) == motion["limits"]
    assert numbers(labelled, motion_pairs=0)["by_motion"]["cells"] == {}


def test_whole_videos_and_majorities_by_hand(labelled: Project) -> None:
    rows = {row["shown"]: row for row in numbers(labelled, reference="gold")["whole_videos"]}
    # Gold on whole videos: a, none (its segments are even: a tie), tie, b. clip-score says b of all four.
    assert rows["clip-score"]["whole"]["confusion"] == [[0, 0, 1], [0, 0, 2], [0, 0, 1]]
    # The majorities of its segments are ties everywhere.
    assert rows["clip-score"]["majority"]["confusion"] == [[0, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert rows["ann"]["majority"]["accuracy_without_ties"]["value"] == 1
    assert rows["ann"]["whole"]["n"] == 0


def test_bias_flips_repeats_and_cost_by_hand(labelled: Project) -> None:
    found = numbers(labelled)
    people = {row["shown"]: row for row in found["people"]}
    assert people["first"]["position"] == {
        "value": 1.0,
        "low": pytest.approx(0.025 ** (1 / 8), abs=1e-6),
        "high": 1,
        "n": 8,
    }
    assert "clip-score" not in people
    (judge,) = found["judges"]
    assert (judge["answers"], judge["abstained"]) == (8, 1)
    # Segment 0 in both orders: the first shown each time; segment 1: a in both, so first once; then b, the second.
    assert (judge["position"]["value"], judge["position"]["n"]) == (0.6, 5)
    assert (judge["flips"]["value"], judge["flips"]["n"]) == (0.5, 2)
    assert (judge["repeats"]["value"], judge["repeats"]["n"]) == (0.5, 2)  # segment 2 alike, segment 1 not
    assert {row["shown"]: (row["seconds"], row["per_hour"], row["hours"]) for row in found["costs"]} == {
        "ann": (2.0, 1800, 0.009),  # 16 labels, the skip among them
        "gold": (4.0, 900, 0.021),  # 19 labels
    }
    assert found["static"][0]["frozen_share"]["value"] == 0.8


def test_a_second_assignment_is_a_repeat(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    give(project, "ann", "aatb", assignment="one")
    give(project, "ann", "abtb", assignment="two")
    found = numbers(project)
    assert (found["people"][0]["repeats"]["value"], found["people"][0]["repeats"]["n"]) == (0.75, 4)
    assert found["voices"][0]["segments"] == 4


def test_what_a_reviewer_settled_is_the_reference_and_people_keep_their_own_words(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 2, videos=False)
    for name, words in (("ann", "abaa"), ("bob", "aabb")):
        give(project, name, words, assignment=name, annotator_version=PAGE, milliseconds=1000)
    give(project, "machine", "aaaa", kind="vlm")
    mine = {(label.annotator, label.segment): label for label in project.labels()}
    pair = next(project.pairs()).id
    for segment, choice in ((1, "a"), (2, "a"), (3, "b")):
        for name in ("ann", "bob", "machine"):
            before = mine[name, segment].id
            decision = Label.make(
                pair=pair,
                seen="s",
                segment=segment,
                segment_seconds=1.0,
                choice=choice,
                annotator_kind="human",
                annotator="carla",
                annotator_version=REVIEW,
                assignment="review",
                supersedes=before,
            )
            project.add_labels([decision])
    found = numbers(project)
    assert [(voice["shown"], voice["segments"]) for voice in found["voices"]] == [
        ("ann", 4),
        ("bob", 4),
        ("machine", 4),
    ]
    # Segment 0: all say a. The others: the decisions a, a, b, against ann's b, a, a, bob's a, b, b and three times a.
    assert found["against_reference"]["ann"]["confusion"] == [[2, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert found["against_reference"]["bob"]["confusion"] == [[2, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert found["against_reference"]["machine"]["confusion"] == [[3, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert found["between"][0]["accuracy"]["value"] == 0.25


def test_right_answers_that_are_known_and_second_looks(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 2, videos=False)
    known, other = (pair.id for pair in project.pairs())
    add_gold(project, [Gold(pair=known, segment=s, aspect="overall", choice="a", origin="file") for s in range(4)])
    give(project, "ann", "aaab", aspect="gold:overall", assignment="gold", annotator_version=PAGE)
    give(project, "ann", "----", "abab", assignment="work", annotator_version=PAGE)
    give(project, "ann", "----", "abba", aspect="repeat:overall", assignment="repeat", annotator_version=PAGE)
    give(project, "ann", "----", "bbbb", aspect="qualify:overall", assignment="practice", annotator_version=PAGE)
    give(project, "machine", "bbbb", kind="vlm")
    found = numbers(project, reference="gold")
    assert {name: each["accuracy"]["value"] for name, each in found["against_reference"].items()} == {
        "ann": 0.75,
        "machine": 0,
    }
    assert (found["people"][0]["repeats"]["value"], found["people"][0]["repeats"]["n"]) == (0.5, 4)
    assert found["aspects"] == ["overall"]
    assert other != known and found["voices"][0]["segments"] == 8


def test_aspects_and_other_grids(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    for aspect, bob in (("overall", "aaaa"), ("motion", "abab")):
        give(project, "ann", "aaaa", aspect=aspect)
        give(project, "bob", bob, aspect=aspect)
    give(project, "coarse", "aa", segment_seconds=2.0)
    found = numbers(project)
    assert found["other_grid"] == 2
    assert [voice["shown"] for voice in found["voices"]] == ["ann", "bob"]
    cells = {cell["aspect"]: cell["accuracy"]["value"] for cell in found["by_aspect"]["ann"]}
    assert cells == {"motion": 0.5, "overall": 1}


def test_the_same_labels_give_the_same_page(labelled: Project) -> None:
    first = write_agreement(labelled, QUICK)
    before = (first.page.read_bytes(), first.numbers.read_bytes())
    second = write_agreement(labelled, QUICK)
    assert (second.page.read_bytes(), second.numbers.read_bytes()) == before
    assert (second.labellers, second.labels, second.pairs) == (4, 63, 4)


def test_the_page_needs_nothing_from_outside_and_shows_the_contested_pairs(labelled: Project) -> None:
    report = write_agreement(labelled, QUICK.model_copy(update={"shown": 3}))
    text = report.page.read_text()
    assert not re.findall(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org", ""))
    files = re.findall(r'(?:src|poster)="([^"]+)"', text)
    assert len(files) == 6 and all((report.page.parent / file).stat().st_size for file in files)
    assert "<h3>clip-score</h3>" in text
    assert text.count('class="lines"') == 3


def test_words_from_labels_cannot_become_markup(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    give(project, "<script>alert(1)</script>", "aaaa")
    give(project, "bob", "bbbb")
    report = write_agreement(project, QUICK)
    assert "<script>alert" not in report.page.read_text()
    assert "Its videos cannot be read" in report.page.read_text()


def test_clear_errors(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 1, videos=False)
    with pytest.raises(UserError, match="has no labels on overall to compare; get some with"):
        write_agreement(project, QUICK)
    give(project, "ann", "aaaa")
    with pytest.raises(UserError, match=r"nobody named gold has labels .* or one of: ann"):
        write_agreement(project, QUICK.model_copy(update={"reference": "gold"}))


@pytest.mark.parametrize("method", ["weighted", "dawid-skene"])
def test_other_ways_to_a_consensus(labelled: Project, method: str) -> None:
    found = numbers(labelled, consensus=method)
    assert found["against_reference"]["ann"]["n"] > 0
    assert found["settings"]["consensus"] == method
    assert (
        f"the consensus of the others ({method})"
        in write_agreement(labelled, QUICK.model_copy(update={"consensus": method})).page.read_text()
    )


def test_the_static_test_of_the_scorers_reaches_the_page(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", 2)
    give(project, "ann", "aaaa")
    found = numbers(project, static_test=2)["static"]
    assert {row["annotator"]: (row["frozen"], row["moving"]) for row in found}["flicker"] == (2, 0)
    assert {row["annotator"]: (row["frozen"], row["moving"]) for row in found}["freeze"] == (0, 2)


def test_the_command_tells_where_the_page_is(labelled: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert agreement_command(labelled.root, resamples=50, json_line=True) == 0
    told, line = capsys.readouterr().out.splitlines()
    assert "agreement.html: 4 labellers, 63 labels on 4 pairs; Krippendorff's alpha 0." in told
    assert json.loads(line)["labellers"] == 4


def test_no_torch() -> None:
    code = "import sys, densedpo.agreement, densedpo.cli.agreement_command; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_works_from_a_file_in_a_browser(labelled: Project, browser: "Browser") -> None:
    report = write_agreement(labelled, QUICK)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("requestfailed", lambda request: mistakes.append(f"{request.url} {request.failure}"))
    page.goto(report.page.as_uri())
    assert page.locator("h1").inner_text().startswith("Krippendorff’s alpha of 4 labellers is")
    card = page.locator(".cards figure").first
    card.scroll_into_view_if_needed()
    card.locator("button[data-start]").nth(2).click()
    page.wait_for_function("() => !document.querySelector('.cards video').paused")
    page.wait_for_function("() => document.querySelector('.cards video').currentTime >= 2")
    assert page.evaluate("document.querySelector('.cards video').duration") == pytest.approx(FRAMES / 8, abs=0.05)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [each for each in mistakes if "ERR_ABORTED" not in each] == []  # a seek ends the video's last request
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.close()


def test_a_segment_is_played_again_at_its_end(labelled: Project, browser: "Browser") -> None:
    """Without `timeupdate`, which comes up to a quarter of a second late: next to a segment of one second, a lot."""
    report = write_agreement(labelled, QUICK)
    page = browser.new_page()
    page.add_init_script("""
        window.addEventListener("timeupdate", (event) => event.stopImmediatePropagation(), true);
        window.returns = [];
        window.addEventListener("seeked", (event) => returns.push(event.target.currentTime), true);
    """)
    page.goto(report.page.as_uri())
    button = page.locator(".cards figure").first.locator("button[data-start]").nth(1)
    start, end = (float(button.get_attribute(name) or "nan") for name in ("data-start", "data-end"))
    button.click()
    page.wait_for_function("() => returns.length >= 3")  # the first is the click's own
    assert all(start <= time < end for time in page.evaluate("returns"))
    page.close()
