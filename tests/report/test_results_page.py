"""What the results page says about a hand-made evaluation."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_study import IMAGE, SCRIPT, Study
from results_study import FRAMES, results_study, write_page

from densedpo.evaluation.head_to_head import contest
from densedpo.report.results_charts import difference_chart, kept_chart, strength_chart
from densedpo.report.results_data import remake_commands
from densedpo.report.results_page import contests, finding, limits, p_value, results_page, verdict
from densedpo.report.runs import Run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return results_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def html(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(study, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def data(html: Path) -> Any:
    found = re.search(r'<script type="application/json" id="clip-data">(.*?)</script>', html.read_text(), re.S)
    assert found
    return json.loads(found[1])


def read(study: Study) -> Any:
    results = Run.open(study.project, "test").results()
    assert results
    return results


def test_each_contestant_is_judged_by_what_was_found(study: Study) -> None:
    dense, flow = (verdict(read(study), name) for name in ("dense", "flow"))
    # Without seed 0 of prompt 1, dense gains 0.0205, 0.031, 0.0405 and 0.0505: mean 0.035625, deviation 0.0128802.
    assert dense.better == [("Visual quality (tiny world)", "+0.036 [+0.015, +0.056]")]
    assert (dense.worse, dense.open, dense.lost, dense.suspect) == ([], ["Warping error"], [], [])
    assert dense.kept == [("Motion strength", "99%")]
    assert [title for title, _ in flow.better] == flow.suspect == ["Warping error"]
    assert [title for title, _ in flow.worse] == ["Visual quality (tiny world)"]
    assert (flow.kept, flow.lost) == ([], [("Motion strength", "30%")])


@pytest.mark.parametrize(
    ("better", "difference", "expected"),
    [
        ("higher", {"mean": 0.1, "p_holm": 0.049}, "better"),
        ("higher", {"mean": -0.1, "p_holm": 0.049}, "worse"),
        ("lower", {"mean": -0.1, "p_holm": 0.0}, "better"),
        ("lower", {"mean": 0.1, "p_holm": 0.0}, "worse"),
        ("higher", {"mean": 0.1, "p_holm": 0.05}, "open"),
        ("higher", {"mean": 0.1, "p_holm": None}, "open"),
        ("neither", {"mean": 0.1, "p": 0.0}, "none"),
        ("higher", None, "none"),
    ],
)
def test_only_a_p_below_five_percent_in_a_metric_with_a_direction_is_a_finding(
    better: str, difference: Any, expected: str
) -> None:
    assert finding(better, difference) == expected


def test_numbers_have_as_many_digits_as_their_interval_allows() -> None:
    assert limits({"mean": 0.12345, "low": 0.1, "high": 0.147}) == ("0.123", "[0.100, 0.147]")
    assert limits({"mean": 395.4, "low": 296.4, "high": 493.1}) == ("395", "[296, 493]")
    assert limits({"mean": -0.0048, "low": -0.0058, "high": -0.0037}, True) == ("−0.0048", "[−0.0058, −0.0037]")
    assert limits({"mean": 0.00001, "low": -0.01, "high": 0.01}, True) == ("0.000", "[−0.010, +0.010]")
    assert limits({"mean": 1.0, "low": 1.0, "high": 1.0}) == ("1.00", "[1.00, 1.00]")
    assert limits({"mean": 0.5, "low": None, "high": None}) == ("0.500", "")
    assert limits({"mean": None, "low": None, "high": None}) == ("–", "")
    assert [p_value(p) for p in (None, 0.0, 0.00099, 0.0344, 1.0)] == ["–", "< 0.001", "< 0.001", "0.034", "1.000"]


def test_better_is_to_the_right_whatever_the_direction() -> None:
    rise, fall = {"mean": 0.2, "low": 0.1, "high": 0.3}, {"mean": -0.2, "low": -0.3, "high": -0.1}
    higher, lower = (difference_chart({"up": rise, "down": fall}, better) for better in ("higher", "lower"))
    # The axis reaches from 12 to 198 for values of up to 1.08 * 0.3; 0.2 is 0.2 / 0.324 of 93 from the middle.
    assert (higher.line, higher.marks["up"].at, higher.marks["down"].at) == (105.0, 162.4, 47.6)
    assert higher.marks["up"].ends == (133.7, 191.1)
    assert (lower.marks["up"].at, lower.marks["down"].at) == (47.6, 162.4)
    assert [label for _, label in higher.ticks] == ["−0.2", "0", "+0.2"] == [label for _, label in lower.ticks]
    assert [x for x, _ in higher.ticks] == [x for x, _ in lower.ticks][::-1]
    still = difference_chart({"same": {"mean": 0.0, "low": 0.0, "high": 0.0}}, "higher")
    assert still.marks["same"].at == still.line
    alone = difference_chart({"one": {"mean": 1.0, "low": None, "high": None}}, "higher")
    assert alone.marks["one"].ends is None


def test_a_whisker_clears_the_margin_exactly_where_the_surplus_is_above_zero() -> None:
    # A base of 2 and a margin of a tenth: 1.8 must remain. The first keeps at least 1.8, the second at least 1.79.
    rows = {
        name: {"margin": 0.1, "ratio": ratio, "surplus": {"mean": 2 * ratio - 1.8, "low": low, "high": low + 0.1}}
        for name, ratio, low in (("just", 0.925, 0.0), ("not", 0.92, -0.01))
    }
    chart = kept_chart(rows, 2.0)
    assert chart and chart.marks["just"].ends and chart.marks["not"].ends
    assert chart.marks["just"].ends[0] == chart.line
    assert chart.marks["not"].ends[0] < chart.line < chart.marks["not"].at
    assert [label for _, label in chart.ticks] == ["90.0%", "92.5%", "95.0%", "97.5%", "100.0%"]
    assert kept_chart(rows, 0.0) is None
    assert kept_chart({"a": {"margin": 0.1, "ratio": None, "surplus": rows["not"]["surplus"]}}, 2.0) is None


def test_contests_by_judges_come_before_those_by_scores(study: Study) -> None:
    results = read(study)
    leads = {("base", "dense"): {"p": 1.0, "q": -1.0}, ("base", "flow"): {"p": 1.0}}
    by_people = contest(["base", "dense", "flow"], leads) | {"annotators": 2, "models": [], "videos": 3, "outdated": 1}
    results["head_to_head"] |= {"human": {"overall": by_people}, "vlm": {"overall": by_people | {"strengths": {}}}}
    found = contests(results)
    assert [(each.judge, each.title) for each in found] == [
        ("by people", "overall"),
        ("by a vision-language model", "overall"),
        ("by scores", "Visual quality (tiny world)"),
        ("by scores", "Warping error"),
    ]
    assert found[0].judged == {"annotators": 2, "models": [], "videos": 3, "outdated": 1}
    assert found[2].judged == {} and found[1].chart is None
    strengths = [each["mean"] for each in found[2].strengths.values()]
    assert list(found[2].strengths) == ["dense", "base", "flow"] and strengths == sorted(strengths, reverse=True)
    assert strength_chart({}) is None


def test_the_page_names_every_figure_and_what_was_not_measured(html: Path) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.read_text()))
    for said in (
        "Which is better than “base”?",
        "3 contestants on 4 prompts, 24 clips, 2 seeds a prompt.",
        "Stillness improves Warping error",
        "+0.036 [+0.015, +0.056]",
        "4 · 0 · 0 won 100% [51, 100], lost 0% [0, 49]",
        "vbench_dynamic_degree needs torchvision, install it with: pip install torchvision",
        "Visual quality (tiny world) of base 1 clip without a value",
        "densedpo evaluate &#39;a team&#39;&#34;&#39;&#34;&#39;s project&#39; --config",
    ):
        assert said in text, said


def test_data_of_every_clip_is_in_the_page_and_nothing_can_leave_its_block(html: Path, data: Any) -> None:
    assert html.read_text().count("</script>") == 6  # the shell's script, the page's four, and the block itself
    assert data["prompts"][1:3] == [SCRIPT, IMAGE]
    assert SCRIPT not in html.read_text() and IMAGE not in html.read_text()
    assert data["shots"] == [[index, index, seed] for index in range(4) for seed in range(2)]
    assert [metric["name"] for metric in data["metrics"]] == ["visual_quality", "warping_error", "motion_strength"]
    assert data["scores"]["base"][2] == [None, 0.02, 1.1] and data["scores"]["dense"][0] == [0.52, 0.02, 0.99]
    assert data["clips"]["flow"][2] is None
    clips = [clip for row in data["clips"].values() for clip in row if clip]
    assert {(fps, frames) for _, fps, frames in clips} == {(8.0, FRAMES)}
    assert len({url for url, _, _ in clips}) == 23
    assert all((html.parent / url).is_file() and re.fullmatch(r"media/[\w.-]+\.mp4", url) for url, _, _ in clips)


def test_a_clip_outside_the_runs_folder_is_not_taken(study: Study, tmp_path: Path) -> None:
    run = Run.open(study.project, "test")
    rows = (run.folder / "scores.jsonl").read_text()
    try:
        (run.folder / "scores.jsonl").write_text(rows.replace("clips/dense/0000-0.mp4", "../test/../../project.yaml"))
        context = results_page(study.project, Run.open(study.project, "test"), tmp_path)
    finally:
        (run.folder / "scores.jsonl").write_text(rows)
    assert json.loads(str(context["data"]))["clips"]["dense"][0] is None


def test_only_clips_that_a_model_made_have_a_command(study: Study) -> None:
    found = remake_commands(study.project, Run.open(study.project, "test"), ["base", "flow"])
    assert found == {"base": """densedpo remake 'a team'"'"'s project' base/CLIP --evaluation test""", "flow": None}


@pytest.mark.parametrize("earlier", [None, '{"format": 1}'])
def test_without_results_the_page_says_how_to_make_them(tmp_path: Path, earlier: str | None) -> None:
    study = results_study(tmp_path)
    file = study.project.run_folder("test") / "results.json"
    file.unlink()
    if earlier:
        file.write_text(earlier)
    text = write_page(study, tmp_path / "out").read_text()
    assert "has not been compared yet" in text and "/runs/test/settings.yaml" in text and "clip-data" not in text
