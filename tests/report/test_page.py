import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from report_study import IMAGE, PROMPTS, SCRIPT, SIZE, Study, full_study, score_line, score_lines

from densedpo.errors import UserError
from densedpo.report import build_report, summarise
from densedpo.report.media import CLIPS_SHOWN
from densedpo.report.page import flat
from densedpo.video.io import probe

EXTRA: dict[str, Any] = {
    "seconds": {"pairs": 12.5},
    "versions": {SCRIPT: IMAGE},
    "commands": [f"densedpo init {SCRIPT}", "densedpo report demo"],
}


class Page(HTMLParser):
    """The elements of a page, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]

    def with_tag(self, wanted: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == wanted]


@pytest.fixture(scope="module")
def index(full: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(full.project, tmp_path_factory.mktemp("page") / "out", "dense", "test", EXTRA)


@pytest.fixture(scope="module")
def page(index: Path) -> Page:
    return Page(index.read_text("utf-8"))


def test_the_folder_holds_everything_the_page_refers_to(index: Path, page: Page) -> None:
    local = [r for r in page.values("src") + page.values("href") + page.values("poster") if r[0] != "#"]
    files = {unquote(reference) for reference in local} - {"data:,"}
    assert {"report.css", "report.js", "summary.json"} < files
    assert all((index.parent / file).is_file() for file in files), files
    assert {f"media/{path.name}" for path in (index.parent / "media").iterdir()} == {
        f for f in files if f[:6] == "media/"
    }
    anchors = {reference[1:] for reference in page.values("href") if reference[0] == "#"}
    assert anchors <= set(page.values("id")) and len(anchors) == 6


def test_nothing_comes_from_the_network(index: Path) -> None:
    for name in ("index.html", "report.css", "report.js"):
        text = (index.parent / name).read_text("utf-8").lower()
        assert "http:" not in text and "https:" not in text and 'src="//' not in text and "@import" not in text


def test_hostile_prompts_stay_text(index: Path, page: Page) -> None:
    assert page.text.count(SCRIPT) >= 4  # clip, pair, settings, versions, commands
    assert IMAGE in page.text
    assert not page.with_tag("img")
    assert not [attribute for _, attrs in page.elements for attribute in attrs if attribute.startswith("on")]
    scripts = [(attrs.get("src"), attrs.get("type")) for attrs in page.with_tag("script")]
    assert scripts == [("report.js", None), (None, "application/json")]
    assert json.loads((index.parent / "summary.json").read_text("utf-8"))["settings"]["evaluation"]["note"] == SCRIPT


def test_hostile_names_stay_text_in_the_curves_data_too(full: Study, tmp_path: Path) -> None:
    study = Study(full.project)
    folder = study.project.run_folder("hostile")
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 0.5, "</script>": SCRIPT, "seconds": 1}) + "\n")
    try:
        html = build_report(study.project, tmp_path / "out", "hostile", None).read_text("utf-8")
    finally:
        shutil.rmtree(folder)
    assert len(Page(html).with_tag("script")) == 2 == html.count("</script>")


def test_summary_json_is_what_summarise_returns(full: Study, index: Path) -> None:
    written = json.loads((index.parent / "summary.json").read_text("utf-8"))
    assert written == summarise(full.project, "dense", "test", EXTRA)


def test_same_inputs_give_the_same_files(index: Path, tmp_path: Path) -> None:
    again = build_report(full_study(tmp_path / "project").project, tmp_path / "out", "dense", "test", EXTRA).parent
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(index.parent) for path in index.parent.rglob("*") if path.is_file())
    assert [file for file in files if (again / file).read_bytes() != (index.parent / file).read_bytes()] == []


def test_the_page_says_what_was_found(page: Page) -> None:
    assert (
        "“dense” raised visual quality, lowered temporal consistency and kept motion; no clear change in text"
        in page.text
    )
    assert "Visual quality rose by 0.035 [+0.014, +0.056]" in page.text
    assert "4 pairs of clips, 7 segments labelled on 4 pairs, a LoRA trained for 40 steps, compared" in page.text


def test_every_comparison_is_one_file_with_all_sides(index: Path, page: Page) -> None:
    videos = [attrs["src"] or "" for attrs in page.with_tag("video")]
    clips, pairs = [v for v in videos if "/clip-" in v], [v for v in videos if "/pair-" in v]
    assert len(clips) == 8 and len(pairs) == 4
    side = SIZE * 6  # 16 pixels become at least 96
    assert {probe(index.parent / video).width for video in clips} == {2 * side}
    assert sorted(probe(index.parent / video).width for video in pairs) == [2 * side, 3 * side, 3 * side, 3 * side]


def test_timelines_show_the_outcomes(page: Page) -> None:
    labels = [label.split(": ")[1] for label in page.values("aria-label") if label.startswith("segment ")]
    assert sorted(labels) == sorted(["a better", "b better", "a better", "tie", "tie", "tie", "b better", "unlabelled"])
    buttons = [attrs for attrs in page.with_tag("button") if "data-frame" in attrs]
    assert {attrs["data-frame"] for attrs in buttons} == {"0", "8"}


def test_the_gallery_holds_the_first_and_both_extremes(empty: Study, tmp_path: Path) -> None:
    lines = []
    for index in range(40):
        change = (index * 17 % 40) / 100 - 0.2  # every value once, in no order
        lines += [score_line("base", index, 0, visual_quality=0.5)]
        lines += [score_line("dense", index, 0, visual_quality=0.5 + change)]
    empty.evaluate(lines)
    found = Page(build_report(empty.project, tmp_path / "out", None, "test").read_text("utf-8"))
    orders, changes = found.values("data-order"), found.values("data-change")
    cards = {int(order): float(change) for order, change in zip(orders, changes, strict=True)}
    everything = sorted((index * 17 % 40) / 100 - 0.2 for index in range(40))
    shown = sorted(cards.values())
    assert shown[:CLIPS_SHOWN] == pytest.approx(everything[:CLIPS_SHOWN])
    assert shown[-CLIPS_SHOWN:] == pytest.approx(everything[-CLIPS_SHOWN:])
    assert set(range(CLIPS_SHOWN)) <= cards.keys()
    assert len(cards) < 40


def test_in_order_means_every_prompts_first_seed_first(index: Path, page: Page) -> None:
    names = [(attrs["src"] or "") for attrs in page.with_tag("video") if "/clip-" in (attrs["src"] or "")]
    assert [name[len("media/clip-") : -len(".mp4")] for name in names] == [
        f"{prompt:04d}-{seed}" for seed in (0, 1) for prompt in range(len(PROMPTS))
    ]


def test_a_project_without_runs_says_which_commands_come_next(empty: Study, tmp_path: Path) -> None:
    html = build_report(empty.project, tmp_path / "out").read_text("utf-8")
    text = Page(html).text
    for command in ("pairs", "label oracle", "train", "evaluate"):
        assert f"densedpo {command} PROJECT" in text
    assert list((tmp_path / "out" / "media").iterdir()) == []
    assert "Pairs and labels so far." in text


def test_trained_but_not_evaluated(full: Study, tmp_path: Path) -> None:
    found = Page(build_report(full.project, tmp_path / "out", "dense").read_text("utf-8"))
    assert "Trained, not yet compared." in found.text and "densedpo evaluate PROJECT" in found.text
    assert len([attrs for attrs in found.with_tag("figure") if attrs.get("class") == "panel"]) == 6


def test_clips_that_are_gone_or_lie_elsewhere_are_left_out(empty: Study, tmp_path: Path) -> None:
    lines = score_lines(prompts=3, seeds=1)
    folder = empty.evaluate(lines)
    (folder / lines[0]["video"]).unlink()
    outside = empty.project.root / "outside.mp4"
    shutil.copy(folder / lines[2]["video"], outside)
    scores = (folder / "scores.jsonl").read_text().replace(lines[2]["video"], "../../outside.mp4")
    (folder / "scores.jsonl").write_text(scores)
    found = Page(build_report(empty.project, tmp_path / "out", None, "test").read_text("utf-8"))
    assert [attrs["src"] for attrs in found.with_tag("video")] == ["media/clip-0002-0.mp4"]


def test_several_contestants_get_a_row_and_a_verdict_each(empty: Study, tmp_path: Path) -> None:
    lines = score_lines(prompts=4, seeds=1)
    lines += [line | {"contestant": "sft"} for line in lines if line["contestant"] == "dense"]
    empty.evaluate(lines)
    found = Page(build_report(empty.project, tmp_path / "out", None, "test").read_text("utf-8"))
    assert len(found.with_tag("h1")) == 2
    assert len(found.with_tag("circle")) == 8


def test_a_report_never_lands_in_a_project_folder(full: Study) -> None:
    with pytest.raises(UserError, match="give the report a folder of its own"):
        build_report(full.project, full.project.root)


def test_flat_settings() -> None:
    rows = dict(flat({"lora": {"rank": 16, "on": True}, "name": "a", "none": None, "empty": {}, "list": [1, "x"]}))
    assert rows == {
        "lora.rank": "16",
        "lora.on": "true",
        "name": "a",
        "none": "null",
        "empty": "{}",
        "list": '[1, "x"]',
    }
