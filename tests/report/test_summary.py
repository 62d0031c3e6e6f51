import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from report_study import IMAGE, SCRIPT, Study, full_study, log_line, score_line, score_lines, write_lines

import densedpo.report
from densedpo.errors import UserError
from densedpo.metrics.motion_strength import MotionStrength
from densedpo.report import summarise
from densedpo.report.runs import METRICS, Run
from densedpo.report.summary import as_json, contestant_figures
from densedpo.report.trainings import training_figures

SCHEMA = json.loads(Path(densedpo.report.__file__).with_name("summary.schema.json").read_text("utf-8"))


def figures(study: Study, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    return summarise(study.project, "dense", "test", extra)


def test_means_and_differences_by_hand(empty: Study) -> None:
    # Three prompts; the first has two seeds. Differences: (0.1 + 0.3) / 2 = 0.2, 0.4, 0.6 -> mean 0.4, sd 0.2,
    # half-width t(0.975, 2) * 0.2 / sqrt(3) = 4.302653 * 0.115470 = 0.496828. Base by prompt: 0.2, 0.3, 0.4 -> 0.3.
    base = [(0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.3), (2, 0, 0.4)]
    dense = [(0, 0, 0.2), (0, 1, 0.6), (1, 0, 0.7), (2, 0, 1.0)]
    lines = [score_line("base", p, s, visual_quality=v) for p, s, v in base]
    lines += [score_line("dense", p, s, visual_quality=v) for p, s, v in dense]
    empty.evaluate(lines, with_clips=False)
    found = summarise(empty.project, None, "test")["contestants"]
    assert found["base"]["visual_quality"]["mean"] == pytest.approx(0.3)
    assert found["base"]["visual_quality"]["n"] == 3
    assert found["base"]["visual_quality"]["difference"] is None
    assert found["dense"]["visual_quality"]["mean"] == pytest.approx(0.7)
    difference = found["dense"]["visual_quality"]["difference"]
    assert difference["mean"] == pytest.approx(0.4) and difference["n"] == 3
    assert difference["low"] == pytest.approx(0.4 - 0.496828, abs=1e-6)
    assert difference["high"] == pytest.approx(0.4 + 0.496828, abs=1e-6)
    assert difference["relative"] == pytest.approx(0.4 / 0.3)
    assert found["dense"]["dynamic_degree"] == {"mean": None, "low": None, "high": None, "n": 0, "difference": None}


def test_only_videos_that_both_sides_have_are_compared(empty: Study) -> None:
    lines = [score_line("base", 0, 0, visual_quality=0.5), score_line("base", 1, 0, visual_quality=math.nan)]
    lines += [score_line("dense", 0, 0, visual_quality=0.6), score_line("dense", 1, 0, visual_quality=0.9)]
    lines += [score_line("dense", 2, 0, visual_quality=0.1)]
    empty.evaluate(lines, with_clips=False)
    found = summarise(empty.project, None, "test")["contestants"]
    assert found["base"]["visual_quality"]["n"] == 1
    assert found["dense"]["visual_quality"]["n"] == 3
    assert found["dense"]["visual_quality"]["difference"]["mean"] == pytest.approx(0.1)
    assert found["dense"]["visual_quality"]["difference"]["low"] is None  # one prompt has no interval


def test_a_video_scored_again_counts_once(empty: Study) -> None:
    empty.evaluate([score_line("base", 0, 0, visual_quality=v) for v in (0.1, 0.7)], with_clips=False)
    found = summarise(empty.project, None, "test")
    assert found["contestants"]["base"]["visual_quality"]["mean"] == 0.7
    assert found["videos"] == 1


def test_no_relative_change_of_nothing(empty: Study) -> None:
    empty.evaluate([score_line(c, i, 0, dynamic_degree=v) for c, v in (("base", 0.0), ("dense", 1.0)) for i in (0, 1)])
    difference = summarise(empty.project, None, "test")["contestants"]["dense"]["dynamic_degree"]["difference"]
    assert difference["mean"] == 1.0 and difference["relative"] is None


def test_the_base_comes_first_and_every_metric_is_there(full: Study) -> None:
    found = contestant_figures(list(reversed(Run.open(full.project, "test").scores())))
    assert list(found) == ["base", "dense"]
    assert all(tuple(metrics) == METRICS for metrics in found.values())


def test_label_figures_by_hand(full: Study) -> None:
    # Segments of the four pairs: (a, b), (a, tie), (tie, tie), (b, nobody): 7 decisions, 4 of them with a winner.
    found = figures(full)
    assert (found["pairs"], found["labelled_pairs"], found["labelled_segments"]) == (4, 4, 7)
    assert found["choices"] == {"a": 2, "tie": 3, "b": 2}
    assert found["nontie_segment_share"] == pytest.approx(4 / 7)
    assert found["mixed_pair_share"] == 0.25
    assert found["near_identical_pairs"] == 1
    first, second = {"segment": 0, "a": 2, "tie": 1, "b": 1}, {"segment": 1, "a": 0, "tie": 2, "b": 1}
    assert found["by_segment"] == [first, second]


def test_labels_on_whole_videos_are_counted_apart(empty: Study) -> None:
    pair = empty.add_pair(0, "a red circle")
    empty.label(pair, None, "b")
    empty.label(empty.add_pair(1, "a star"), 0, "skip")
    found = summarise(empty.project, None, None)
    assert found["whole_video_choices"] == {"a": 0, "tie": 0, "b": 1}
    assert found["labelled_segments"] == 0 and found["nontie_segment_share"] is None


def test_annotators_who_disagree_make_a_tie(empty: Study) -> None:
    pair = empty.add_pair(0, "a red circle")
    empty.label(pair, 0, "a", annotator="one")
    empty.label(pair, 0, "b", annotator="two")
    assert summarise(empty.project, None, None)["choices"] == {"a": 0, "tie": 1, "b": 0}


def test_final_figures_are_means_over_the_last_tenth() -> None:
    log = [{"step": step, "loss": float(step), "grad_norm": None, "seconds": 2.0} for step in range(1, 21)]
    found = training_figures(log)
    assert found is not None
    assert (found["steps"], found["first_loss"], found["final_loss"]) == (20, 1.0, 19.5)
    assert found["final_grad_norm"] is None
    assert (found["seconds"], found["seconds_per_step"]) == (40.0, 2.0)
    assert training_figures([]) is None


def test_a_step_done_again_counts_once_and_an_unfinished_line_not_at_all(empty: Study) -> None:
    folder = empty.run("dense", "", {})
    write_lines(folder / "log.jsonl", [log_line(step, 4) for step in (1, 2, 3, 2, 3)])
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in Run.open(empty.project, "dense").log()] == [1, 2, 3]
    assert figures_of_training(empty)["steps"] == 3


def figures_of_training(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = summarise(study.project, "dense", None)["training"]
    return found


def test_a_broken_line_in_the_middle_is_reported(empty: Study) -> None:
    (empty.run("dense", "", {}) / "log.jsonl").write_text('{"step": 1}\nrubbish\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"log\.jsonl, line 2: not JSON"):
        figures_of_training(empty)


def test_line_separators_inside_a_prompt_do_not_split_a_line(empty: Study) -> None:
    line = score_line("base", 0, 0, visual_quality=0.5) | {"prompt": "a\u2028b"}
    folder = empty.evaluate([line], with_clips=False)
    (folder / "scores.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n", "utf-8")
    assert Run.open(empty.project, "test").scores()[0].prompt == "a\u2028b"


@pytest.mark.parametrize("name", ["other", "../project", ""])
def test_an_unknown_run_names_the_known_ones_and_makes_no_folder(empty: Study, name: str) -> None:
    empty.train()
    with pytest.raises(UserError, match=r"there is no run named.*dense"):
        Run.open(empty.project, name)
    assert [path.name for path in (empty.project.root / "runs").iterdir()] == ["dense"]


def test_seconds_and_versions_join_the_runs_and_what_is_told(full: Study) -> None:
    found = figures(full, {"seconds": {"pairs": 12.5}, "versions": {"python": "3.11.2"}})
    assert found["seconds"] == {"pairs": 12.5, "train": 20.0}
    assert found["versions"] == {"diffusers": "0.42.1", "python": "3.11.2", "torch": "2.13.0"}
    assert found["settings"]["training"] == {"beta": 500, "lora": {"rank": 16}}
    assert figures(full, {"seconds": {"train": 99.0}})["seconds"] == {"train": 99.0}


def test_a_database_password_is_never_passed_on(full: Study) -> None:
    settings = full.project.settings.model_copy(update={"database": "postgresql+psycopg://me:secret@host/db"})
    study = Study(type(full.project)(full.project.root, settings, full.project._engine))
    assert "secret" not in json.dumps(figures(study))


def test_same_inputs_same_bytes(full: Study, tmp_path: Path) -> None:
    again = full_study(tmp_path / "project")
    assert json.dumps(figures(again)) == json.dumps(figures(full))


def test_nothing_yet(empty: Study) -> None:
    found = summarise(empty.project, None, None)
    assert (found["pairs"], found["contestants"], found["training"]) == (0, {}, None)
    assert found["mixed_pair_share"] is None
    json.dumps(found, allow_nan=False)


def test_json_values() -> None:
    given = {1: math.nan, "x": (1.5, math.inf, True, None), "p": Path("a")}
    assert as_json(given) == {"1": None, "x": [1.5, None, True, None], "p": "a"}


def test_scores_of_the_fixture_reach_the_summary(full: Study) -> None:
    assert len(score_lines()) == figures(full)["videos"] == 16
    difference = figures(full)["contestants"]["dense"]["visual_quality"]["difference"]
    assert difference["mean"] == pytest.approx(0.035)


def test_clips_by_hand(team: Study) -> None:
    found = summarise(team.project, "dense", "test")["clips"]
    assert (found["count"], found["captions"], found["seconds"]) == (3, 3, pytest.approx(3 * 17 / 8))
    assert found["splits"] == {"train": 3, "validation": 0, "test": 0}
    assert found["sources"] == [{"source": "procedural", "licence": "CC0-1.0", "clips": 3}]
    assert found["shapes"] == [{"width": 16, "height": 16, "frames": 17, "fps": 8.0, "clips": 3}]
    assert found["ingests"] == [{"folder": IMAGE, "added": 3, "known": 0, "rejected": 2}]


def test_motion_is_that_of_the_clips_and_is_measured_once(empty: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        empty.add_clip(index)
    still = Study(empty.project, lambda seed: np.full((17, 16, 16, 3), 24 + seed, np.uint8))
    still.add_clip(4)
    found = summarise(empty.project, None, None)["clips"]["motion"]
    assert found["unmeasured"] is None and found["strength"]["n"] == 4
    assert found["strength"]["low"] == pytest.approx(0, abs=0.02) and found["strength"]["median"] > 0.2
    monkeypatch.setattr(MotionStrength, "measure", lambda *_: pytest.fail("measured again"))
    assert summarise(empty.project, None, None)["clips"]["motion"] == found
    monkeypatch.setattr(MotionStrength, "why_not", lambda *_: "needs OpenCV")
    assert summarise(empty.project, None, None)["clips"]["motion"] == {"unmeasured": "needs OpenCV", "strength": None}


def test_pairs_by_hand(full: Study) -> None:
    found = figures(full)["pair_set"]
    assert found["modes"] == {"guided": 3, "independent": 1}
    assert (found["prompts"], found["with_clip"], found["splits"]["train"]) == (4, 3, 4)
    assert (found["near_identical"]["value"], found["near_identical"]["n"]) == (0.25, 4)
    assert (found["eta"]["n"], found["eta"]["low"], found["eta"]["high"]) == (3, 0.65, 0.67)
    assert found["distance"]["median"] == pytest.approx(0.15)


def test_every_training_run_is_told_apart(team: Study) -> None:
    found = summarise(team.project, "dense", "test")["trainings"]
    assert list(found) == ["dense", "long"]
    long = found["long"]
    assert (long["status"], long["method"], long["pairs"], long["steps"]) == ("begun", "dense", 213, 600)
    assert long["validation"] == pytest.approx({"first": 0.69, "best": 0.66, "best_step": 400, "last": 0.74})
    assert found["dense"]["validation"] is None and found["dense"]["by_sigma"] == []
    lowest, *_, highest = long["by_sigma"]
    assert (lowest["low"], lowest["high"], lowest["pairs"], highest["low"]) == (0.0, 0.2, 120, 0.8)
    share = sum(range(541, 601)) / 60 / 600  # of the way, over the last sixty steps
    assert lowest["accuracy"] == pytest.approx(0.5 + 0.4 * share) and highest["accuracy"] == 0.5
    assert highest["loser_delta"] == pytest.approx(0.004 * share)
    hostile, plain = long["alarms"]
    assert hostile == {"step": 300, "name": "displacement", "saw": SCRIPT, "remedy": "a smaller --lr"}
    assert plain == {"step": 400, "name": "saturation", "saw": "no slope left", "remedy": "a smaller --beta"}


def test_results_are_those_of_the_evaluation(full: Study) -> None:
    written = json.loads((full.project.root / "runs" / "test" / "results.json").read_text("utf-8"))
    assert figures(full)["results"] == written
    assert summarise(full.project, "dense", None)["results"] is None


@pytest.mark.parametrize("which", ["team", "nothing"])
def test_a_summary_obeys_its_published_schema(which: str, team: Study, empty: Study) -> None:
    found = summarise(empty.project, None, None) if which == "nothing" else summarise(team.project, "dense", "test")
    jsonschema_rs.validate(SCHEMA, found)


def test_the_schema_is_strict_about_what_this_version_writes(team: Study) -> None:
    """Every key of a real summary is described, and one that is missing or of another type is refused."""
    found = summarise(team.project, "dense", "test")
    assert undescribed(SCHEMA, found) == []
    for key in found:
        assert not jsonschema_rs.is_valid(SCHEMA, {k: v for k, v in found.items() if k != key}), key
    assert not jsonschema_rs.is_valid(SCHEMA, found | {"format": 2})
    assert not jsonschema_rs.is_valid(SCHEMA, found | {"pairs": -1})


def undescribed(schema: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """Keys of objects that the schema does not name; objects with free keys are looked into."""
    schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
        return undescribed(schema, value, place)
    if isinstance(value, list):
        return [line for each in value for line in undescribed(schema.get("items", {}), each, f"{place}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        free = schema.get("additionalProperties")
        inside = value.items() if isinstance(value, dict) and isinstance(free, dict) else ()
        return [line for key, each in inside for line in undescribed(free, each, f"{place}.{key}")]
    unknown = [f"{place}.{key}" for key in value if key not in schema["properties"]]
    known = [(key, each) for key, each in value.items() if key in schema["properties"]]
    return unknown + [line for k, v in known for line in undescribed(schema["properties"][k], v, f"{place}.{k}")]


def test_every_key_of_the_schema_is_documented() -> None:
    document = (Path(__file__).parents[2] / "docs" / "summary-schema.md").read_text("utf-8")
    named = {key for part in [SCHEMA, *SCHEMA["$defs"].values()] for key in part.get("properties", {})}
    assert sorted(key for key in named if not re.search(rf"\b{key}\b", document)) == []
