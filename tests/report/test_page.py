import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from report_study import CHOICES, IMAGE, SCRIPT, SIZE, Study, full_study, score_lines, write_lines

from densedpo.errors import UserError
from densedpo.report import build_report, summarise
from densedpo.report.overview_page import flat
from densedpo.store.project import Project
from densedpo.store.schema import Label
from densedpo.video.io import probe, write_video

EXTRA: dict[str, Any] = {
    "seconds": {"pairs": 12.5},
    "versions": {SCRIPT: IMAGE},
    "commands": [f"densedpo init {SCRIPT}", "densedpo report demo"],
}
OURS = ("index.html", "data.html", "labels.html", "training.html")


class Page(HTMLParser):
    """The elements of a page, and the text that a reader sees."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(file.read_text("utf-8"))
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]

    def with_tag(self, wanted: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == wanted]


@pytest.fixture(scope="module")
def folder(team: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(team.project, tmp_path_factory.mktemp("page") / "out", "dense", "test", EXTRA).parent


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, Page]:
    return {file.name: Page(file) for file in folder.glob("*.html")}


def built(project: Project, out: Path, *runs: str | None) -> dict[str, Page]:
    return {file.name: Page(file) for file in build_report(project, out, *runs).parent.glob("*.html")}


def test_every_page_leads_to_every_other(pages: dict[str, Page]) -> None:
    assert set(pages) == {*OURS, "results.html"}
    for name, page in pages.items():
        links = [attrs for attrs in page.with_tag("a") if attrs.get("href") in pages]
        assert {attrs["href"] for attrs in links} == set(pages)
        assert [attrs["href"] for attrs in links if attrs.get("aria-current") == "page"] == [name]


def test_the_folder_holds_all_that_its_pages_refer_to_and_no_other_video(folder: Path, pages: dict[str, Page]) -> None:
    for page in pages.values():
        local = {value for key in ("src", "href", "poster") for value in page.values(key)} - {"data:,"}
        for reference in local:
            file, _, anchor = unquote(reference).partition("#")
            assert not file or (folder / file).is_file(), reference
            assert not anchor or anchor in (pages[file] if file else page).values("id"), reference
    shown = "".join((folder / name).read_text("utf-8") for name in pages)
    assert [path.name for path in (folder / "media").iterdir() if f"media/{path.name}" not in shown] == []


def test_nothing_comes_from_the_network(folder: Path) -> None:
    for name in (*OURS, "report.css", "report.js"):
        text = (folder / name).read_text("utf-8").lower()
        assert "http:" not in text and "https:" not in text and 'src="//' not in text and "@import" not in text


def test_hostile_words_stay_text_on_every_page(folder: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert not page.with_tag("img"), name
        assert not [attribute for _, attrs in page.elements for attribute in attrs if attribute.startswith("on")], name
        scripts = [(attrs.get("src"), attrs.get("type")) for attrs in page.with_tag("script")]
        assert all(src is not None or kind == "application/json" for src, kind in scripts), name
        assert len(scripts) == (folder / name).read_text("utf-8").count("</script>"), name
    for name in OURS:  # settings and versions; prompts and folders; labellers and judges; alarms and settings
        assert SCRIPT in pages[name].text, name
    assert IMAGE in pages["data.html"].text and IMAGE in pages["labels.html"].text


def test_summary_json_is_what_summarise_returns(team: Study, folder: Path) -> None:
    text = (folder / "summary.json").read_text("utf-8")
    assert json.loads(text) == summarise(team.project, "dense", "test", EXTRA)
    assert not re.search(r"\b(NaN|Infinity)\b", text)


def test_no_page_shows_a_number_that_is_none(folder: Path, pages: dict[str, Page]) -> None:
    for name in OURS:
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b", pages[name].text, re.IGNORECASE), name


def test_same_inputs_give_the_same_files(full: Study, tmp_path: Path) -> None:
    first = build_report(full.project, tmp_path / "first", "dense", "test", EXTRA).parent
    again = build_report(full_study(tmp_path / "project").project, tmp_path / "out", "dense", "test", EXTRA).parent
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [file for file in files if (again / file).read_bytes() != (first / file).read_bytes()] == []


def test_a_report_made_again_keeps_its_videos_and_drops_what_nothing_shows(full: Study, tmp_path: Path) -> None:
    out = build_report(full.project, tmp_path / "out", "dense", "test").parent
    media = {path.name: path.stat().st_mtime_ns for path in (out / "media").iterdir()}
    (out / "media" / "pair-old-0123456789ab.mp4").write_bytes(b"x")
    (out / "media" / "holiday.mp4").write_bytes(b"x")  # not ours
    build_report(full.project, out, "dense")
    assert not (out / "results.html").exists() and not (out / "media" / "pair-old-0123456789ab.mp4").exists()
    assert (out / "media" / "holiday.mp4").exists()
    left = {path.name: path.stat().st_mtime_ns for path in (out / "media").glob("pair-*")}
    assert left and left.items() <= media.items()


def test_the_overview_says_what_was_found(pages: dict[str, Page]) -> None:
    text = pages["index.html"].text
    assert (
        "“dense” is better in visual quality, is worse in temporal consistency and keeps its motion; no clear" in text
    )
    assert "4 pairs of clips, 8 segments labelled on 4 pairs, a LoRA trained for 40 steps, compared with “base”" in text
    assert "+0.035 [+0.014, +0.056]" in text and "100%: keeps at least 90% of the motion" in text
    assert "600 steps on 213 pairs, not finished" in text
    assert "densedpo report demo" in text


def test_sample_pairs_are_one_file_each_with_their_timelines(full: Study, tmp_path: Path) -> None:
    page = built(full.project, tmp_path / "out")["data.html"]
    videos = [attrs["src"] or "" for attrs in page.with_tag("video")]
    side = SIZE * 6  # 16 pixels become at least 96; three pairs have a real clip beside them
    assert sorted(probe(tmp_path / "out" / video).width for video in videos) == [2 * side, *[3 * side] * 3]
    assert {attrs["preload"] for attrs in page.with_tag("video")} == {"none"}
    labels = [label.split(": ")[1] for label in page.values("aria-label") if label.startswith("segment ")]
    assert sorted(labels) == sorted(["a better", "b better", "a better", "tie", "tie", "tie", "b better", "unlabelled"])
    buttons = [attrs for attrs in page.with_tag("button") if "data-frame" in attrs]
    assert {attrs["data-frame"] for attrs in buttons} == {"0", "8"} and len(buttons) == 2 * len(CHOICES)


def test_pairs_whose_videos_cannot_be_read_are_left_out(empty: Study, tmp_path: Path) -> None:
    gone, broken, whole = (empty.add_pair(index, f"prompt {index}") for index in range(3))
    empty.project.media_path(gone.media_a).unlink()
    empty.project.media_path(broken.media_b).write_bytes(b"no video")
    page = built(empty.project, tmp_path / "out")["data.html"]
    assert [whole.id[:12] in (attrs["src"] or "") for attrs in page.with_tag("video")] == [True]


def test_sides_of_another_size_and_rate_are_fitted_to_the_first(empty: Study, tmp_path: Path) -> None:
    pair = empty.add_pair(0, "a red circle")
    path = empty.project.root / "other.mp4"
    write_video(path, empty.picture(1).repeat(2, axis=0).repeat(2, axis=1)[:, :, :15], 16.0)
    empty.project.media_path(pair.media_b).unlink()
    shutil.move(path, empty.project.media_path(pair.media_b))
    page = built(empty.project, tmp_path / "out")["data.html"]
    (video,) = (attrs["src"] or "" for attrs in page.with_tag("video"))
    found = probe(tmp_path / "out" / video)
    assert (found.width, found.height, found.frames, found.fps) == (2 * SIZE * 6, SIZE * 6, 17, 8.0)


def test_labellers_and_their_agreement(pages: dict[str, Page], folder: Path) -> None:
    text = pages["labels.html"].text
    assert "Krippendorff’s alpha of 5 labellers is" in text and "Among the 4 people alone" in text
    assert "100% [63%, 100%]" in text  # of who always chooses the left one
    assert "5,000" in text and "1 refused" in text
    assert (folder / "agreement" / "agreement.html").is_file()
    assert all(
        (folder / "agreement" / src).is_file() for src in Page(folder / "agreement/agreement.html").values("src")
    )
    assert "earlier state" not in text


def test_an_agreement_run_of_an_earlier_state_says_so(team: Study, tmp_path: Path) -> None:
    file = team.project.root / "runs" / "agreement" / "agreement.json"
    before = file.read_text("utf-8")
    file.write_text(before.replace(json.loads(before)["fingerprint"], "0" * 32))
    try:
        text = built(team.project, tmp_path / "out")["labels.html"].text
    finally:
        file.write_text(before)
    assert "saw an earlier state of the labels" in text


def test_every_training_run_has_its_curves_and_alarms(pages: dict[str, Page], folder: Path) -> None:
    page = pages["training.html"]
    assert {"dense", "long"} <= set(page.values("id"))
    panels = [attrs for attrs in page.with_tag("figure") if "curves" in (attrs.get("class") or "")]
    assert len(panels) == 6 + 8
    assert re.search(f"Displacement step 300 {re.escape(SCRIPT)}. ?Try a smaller --lr.", page.text)
    assert "Saturation step 400" in page.text
    assert "lowest validation loss, at step 400" in page.text
    assert re.search("0.0 to 0.2 ?120 ?88% ?−0.00095", page.text)  # sixty last steps, two pairs each; 0.5 + 0.4 * 0.95
    assert (folder / "training.html").stat().st_size < 250_000


def test_a_long_log_makes_no_longer_page(empty: Study, tmp_path: Path) -> None:
    empty.train_long(600)
    short = build_report(empty.project, tmp_path / "out", "long").with_name("training.html").stat().st_size
    empty.train_long(6000)
    long = build_report(empty.project, tmp_path / "out", "long").with_name("training.html").stat().st_size
    assert long < 1.2 * short


def test_an_empty_project_says_which_commands_come_next(empty: Study, tmp_path: Path) -> None:
    found = built(empty.project, tmp_path / "out")
    assert set(found) == set(OURS)
    text = " ".join(page.text for page in found.values())
    for command in ("ingest", "pairs", "label oracle", "annotate", "train", "evaluate"):
        assert f"densedpo {command} PROJECT" in text
    assert "An empty project." in text
    assert list((tmp_path / "out" / "media").iterdir()) == []


def test_nothing_but_clips(empty: Study, tmp_path: Path) -> None:
    empty.add_clip(1)
    found = built(empty.project, tmp_path / "out")
    assert "Clips, and no pairs yet." in found["index.html"].text
    assert "procedural" in found["data.html"].text and "CC0-1.0" in found["data.html"].text


def test_labels_without_training(empty: Study, tmp_path: Path) -> None:
    empty.label(empty.add_pair(0, "a red circle"), 0, "a")
    found = built(empty.project, tmp_path / "out")
    assert "Labelled, not yet trained." in found["index.html"].text
    assert "No segment was judged by two labellers" in found["labels.html"].text


def test_trained_but_not_evaluated(full: Study, tmp_path: Path) -> None:
    found = built(full.project, tmp_path / "out", "dense")
    assert "results.html" not in found
    assert "Trained, not yet compared." in found["index.html"].text
    assert "densedpo evaluate PROJECT" in found["index.html"].text


def test_an_evaluation_that_is_under_way(empty: Study, tmp_path: Path) -> None:
    empty.evaluate(score_lines(prompts=2, seeds=1), compared=False)
    text = built(empty.project, tmp_path / "out", None, "test")["index.html"].text
    assert "“test” has not come to its comparison yet" in text


def test_several_contestants_get_a_verdict_and_a_table_each(empty: Study, tmp_path: Path) -> None:
    lines = score_lines(prompts=4, seeds=1)
    lines += [line | {"contestant": "sft"} for line in lines if line["contestant"] == "dense"]
    empty.evaluate(lines)
    page = built(empty.project, tmp_path / "out", None, "test")["index.html"]
    assert len(page.with_tag("h1")) == 2
    assert "“sft” is better in visual quality" in page.text


def test_labels_of_another_segment_length_are_passed_over(empty: Study, tmp_path: Path) -> None:
    pair = empty.add_pair(0, "a red circle")
    empty.label(pair, 0, "a")
    other = {"segment": 5, "segment_seconds": 0.25, "choice": "b", "annotator_kind": "reward", "annotator": "r"}
    empty.project.add_labels([Label.make(pair=pair.id, seen=pair.media_a, **other)])
    found = build_report(empty.project, tmp_path / "out").with_name("summary.json")
    figures = json.loads(found.read_text("utf-8"))
    assert figures["choices"] == {"a": 1, "tie": 0, "b": 0}
    assert [row["name"] for row in figures["labellers"]] == ["oracle"]


def test_other_folders_among_the_runs_disturb_nobody(empty: Study, tmp_path: Path) -> None:
    folder = empty.project.root / "runs" / 'x" onload=alert(1)'
    folder.mkdir(parents=True)
    write_lines(folder / "log.jsonl", [{"step": 1, "loss": 0.5}])
    assert "Nothing has been trained yet" in built(empty.project, tmp_path / "out")["training.html"].text


def test_values_that_are_no_numbers_never_reach_a_page(empty: Study, tmp_path: Path) -> None:
    folder = empty.run("odd", "lr: 1\n", {"kind": "training"})
    row = {"loss": math.inf, "accuracy": math.nan, "grad_norm": None, "seconds": math.nan}
    write_lines(folder / "log.jsonl", [{"step": step, **row} for step in (1, 2)])
    page = built(empty.project, tmp_path / "out", "odd")["training.html"]
    assert not re.search(r"\bnan\b|\binf\b", page.text, re.IGNORECASE)


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
