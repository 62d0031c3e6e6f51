"""Label Studio's export: words become choices, ranges segments; what cannot be understood is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from import_files import make, nothing_in

from densedpo.errors import UserError
from densedpo.labels.imported import import_label_studio
from densedpo.store.checks import validate
from densedpo.store.project import Project
from densedpo.store.schema import Label

DATA = {"video_a": "/data/upload/3/0a1b2c3d-a.mp4", "video_b": "/data/local-files/?d=sub/b.mp4", "prompt": "a ball"}
# The project's clips: frames 0 to 8 at 8 fps, segments of half a second: frames 0 to 3 and 4 to 8.


def pairwise(selected: str, name: str = "pw", id: str = "p") -> dict[str, Any]:
    return {"id": id, "type": "pairwise", "from_name": name, "to_name": "v1,v2", "value": {"selected": selected}}


def choices(word: str, name: str = "overall", id: str = "c", **value: Any) -> dict[str, Any]:
    return {"id": id, "type": "choices", "from_name": name, "to_name": "v", "value": {"choices": [word], **value}}


def timeline(word: str, start: int, end: int, id: str) -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [word]}
    return {"id": id, "type": "timelinelabels", "from_name": "segments", "to_name": "v", "value": value}


def annotation(*results: Any, id: int = 5, **more: Any) -> dict[str, Any]:
    at = {"created_at": "2026-01-02T03:04:05.678901Z", "completed_by": 7, "lead_time": 12.5}
    return {"id": id, "was_cancelled": False, **at, "result": [*results], **more}


def task(*annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 12, "data": {**DATA, **data}, "annotations": [*annotations], "predictions": [], "project": 1}


def take(project: Project, tmp_path: Path, *tasks: Any) -> Any:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([*tasks]))
    return import_label_studio(project, file, tmp_path / "videos")


def answers(project: Project) -> set[tuple[int | None, str, str]]:
    return {(label.segment, label.aspect, label.choice) for label in project.labels()}


def only(project: Project) -> Label:
    (label,) = project.labels()
    return label


def test_a_pairwise_choice_is_a_label_on_the_whole_video(tmp_path: Path) -> None:
    project = make(tmp_path)
    report = take(project, tmp_path, task(annotation(pairwise("right"))))
    assert (report.pairs, report.labels, report.notes) == (1, 1, [])
    label = only(project)
    assert (label.segment, label.aspect, label.choice, label.order_shown) == (None, "overall", "b", "ab")
    assert (label.annotator, label.annotator_kind, label.assignment) == ("label-studio-7", "human", "label-studio-5")
    assert label.created == "2026-01-02T03:04:05.678901+00:00"
    pair = next(project.pairs())
    assert (pair.mode, pair.prompt) == ("imported", "a ball")
    assert validate(project, deep=True) == []
    again = take(project, tmp_path, task(annotation(pairwise("right"))))
    assert (again.labels, again.known, again.conflicts) == (0, 1, 0)
    changed = take(project, tmp_path, task(annotation(pairwise("left"))))
    assert (changed.labels, changed.conflicts) == (0, 1)
    assert only(project) == label


@pytest.mark.parametrize(
    ("word", "order", "choice"),
    [
        ("left", "ab", "a"),
        ("Left is better", "ba", "b"),
        ("right", "ba", "a"),
        ("A", "ba", "a"),
        (" Tie ", "ba", "tie"),
    ],
)
def test_words_and_sides(tmp_path: Path, word: str, order: str, choice: str) -> None:
    project = make(tmp_path)
    take(project, tmp_path, task(annotation(choices(word)), order_shown=order))
    assert (only(project).choice, only(project).order_shown) == (choice, order)


def test_controls_named_as_aspects(tmp_path: Path) -> None:
    project = make(tmp_path)
    take(
        project,
        tmp_path,
        task(annotation(choices("left", "motion"), choices("same", "visual_quality"), pairwise("left"))),
    )
    assert answers(project) == {(None, "motion", "a"), (None, "visual_quality", "tie"), (None, "overall", "a")}


def test_ranges_answer_for_segments_that_they_cover_by_more_than_half(tmp_path: Path) -> None:
    """Label Studio counts frames from 1 and includes the last, so 2 to 4 are frames 1, 2, 3: three of four."""
    project = make(tmp_path)
    report = take(project, tmp_path, task(annotation(timeline("left", 2, 4, "r"), timeline("tie", 7, 8, "s"))))
    assert answers(project) == {(0, "overall", "a")}
    assert report.notes == ["1 ranges cover more than half of no segment and made no label"]
    take(project, tmp_path, task(annotation(timeline("right", 3, 9, "r"), id=6)))  # half of the first is not enough
    assert answers(project) == {(0, "overall", "a"), (1, "overall", "b")}


def test_a_choice_for_each_region(tmp_path: Path) -> None:
    """Regions bear any label; the answer is in the choice with the region's id, or in one with times in seconds."""
    project = make(tmp_path)
    regions = [timeline("part", 1, 4, "r1"), choices("left", id="r1"), choices("same", "motion", id="r1")]
    seconds = choices("right", id="r2", start=0.5, end=1.125)
    take(project, tmp_path, task(annotation(*regions, seconds)))
    assert answers(project) == {(0, "overall", "a"), (0, "motion", "tie"), (1, "overall", "b")}


def test_frames_of_ranges_are_those_of_the_video_or_as_told(tmp_path: Path) -> None:
    project = make(tmp_path)
    take(project, tmp_path, task(annotation(timeline("left", 1, 12, "r")), fps=24))
    assert answers(project) == {(0, "overall", "a")}


def test_pairs_of_the_project(tmp_path: Path) -> None:
    project = make(tmp_path)
    take(project, tmp_path, task(annotation(pairwise("left"))))
    pair = next(project.pairs())
    mine = {"id": 3, "data": {"pair": pair.id}, "annotations": [annotation(timeline("b", 5, 9, "r"), id=9)]}
    report = take(project, tmp_path, mine)
    assert (report.pairs, report.labels) == (0, 1)
    assert {(each.pair, each.segment, each.choice) for each in project.labels()} == {
        (pair.id, None, "a"),
        (pair.id, 1, "b"),
    }
    with pytest.raises(
        UserError, match=r"task 1 \(id 3\): data\.pair is 0{32}, which is no pair of this project; mend"
    ):
        take(project, tmp_path, {**mine, "data": {"pair": "0" * 32}})


def test_what_has_no_place_is_counted(tmp_path: Path) -> None:
    project = make(tmp_path)
    rating = {"id": "x", "type": "rating", "from_name": "r", "value": {"rating": 4}}
    cancelled = annotation(pairwise("left"), id=6, was_cancelled=True)
    report = take(project, tmp_path, task(annotation(pairwise("left"), rating), cancelled), task())
    assert report.labels == 1
    assert report.notes == [
        "1 results of type rating have no place in a label",
        "1 annotations were skipped by their annotators and made no label",
        "1 tasks have no annotation",
    ]


def test_names_of_people_are_not_kept(tmp_path: Path) -> None:
    project = make(tmp_path)
    who = ({"id": 3, "email": "ann@example.org"}, "ann@example.org", {"email": "bob@example.org"}, None, "\ud800")
    marks = [annotation(pairwise("left"), id=number, completed_by=each) for number, each in enumerate(who)]
    take(project, tmp_path, task(*marks))
    names = {label.annotator for label in project.labels()}
    assert len(names) == 5 and {"label-studio-3", "label-studio-unknown"} < names
    assert not [name for name in names if "@" in name or "ann" in name]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (choices("better"), "answers 'better'; what can be understood is: a, a is better"),
        (timeline("Moving", 1, 4, "r"), "answers 'Moving'; what can be understood is"),
        ({**choices("a"), "value": {"choices": ["a", "b"]}}, "holds 2 answers of overall; one is wanted"),
        ({**choices("a"), "value": {"choices": []}}, "holds 0 answers of overall; one is wanted"),
        ({**choices("a"), "value": None}, "value"),
        (timeline("a", 0, 4, "r"), r"value\.ranges\.0\.start: input should be greater than or equal to 1"),
        (choices("a", start=-1.0, end=2.0), r"value\.start: input should be greater"),
    ],
)
def test_answers_that_cannot_be_understood(tmp_path: Path, result: Any, message: str) -> None:
    project = make(tmp_path)
    expected = rf"export\.json, task 2 \(id 12\): annotation 5,? ?{message}.*nothing was added"
    with pytest.raises(UserError, match=expected):
        take(project, tmp_path, task(annotation(pairwise("left"), id=4)), task(annotation(result)))
    assert nothing_in(project)


def test_two_answers_to_one_question(tmp_path: Path) -> None:
    project = make(tmp_path)
    with pytest.raises(
        UserError, match="says two things about overall of the whole video; controls that ask different"
    ):
        take(project, tmp_path, task(annotation(choices("left", "sharpness"), choices("right", "colours"))))
    with pytest.raises(UserError, match="says two things about overall of segment 0"):
        take(project, tmp_path, task(annotation(timeline("a", 1, 4, "r"), timeline("b", 1, 4, "s"))))
    take(project, tmp_path, task(annotation(timeline("a", 1, 4, "r"), timeline("a", 1, 4, "s"))))
    assert answers(project) == {(0, "overall", "a")}


def test_files_that_are_no_export(tmp_path: Path) -> None:
    project = make(tmp_path, names=("a.mp4",))
    file = tmp_path / "export.json"

    def told(text: str) -> str:
        file.write_text(text)
        with pytest.raises(UserError) as caught:
            import_label_studio(project, file, tmp_path / "videos")
        return str(caught.value)

    assert "is no JSON" in told("{") and "is no JSON" in told("[" * 100_000)
    assert "the file: input should be a valid list" in told("{}")
    minimal = json.dumps([{"id": 1, **DATA, "pw": "left"}])
    assert "task 1, data: field required; choose the format JSON in Label Studio's export (not JSON-MIN)" in told(
        minimal
    )
    assert "task 1, data.order_shown: input should be 'ab' or 'ba'" in told(json.dumps([task(order_shown="x")]))
    assert "data must hold pair (the id of a pair), or video_a, video_b and prompt" in told(
        json.dumps([{"data": {"video": "a.mp4"}, "annotations": [annotation(pairwise("left"))]}])
    )
    assert "there is no video 'x.mp4'" in told(json.dumps([task(annotation(pairwise("left")), video_a="x.mp4")]))
    assert nothing_in(project)
