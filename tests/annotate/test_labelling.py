"""From what somebody sees on the left and right to labels on a and b."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotate_projects import FRAMES, all_labels, answer, client_of, make_project, person
from starlette.testclient import TestClient

from densedpo.store import assignments
from densedpo.store.assignments import Queue
from densedpo.store.consensus import ConsensusPolicy, consensus
from densedpo.store.project import Project
from densedpo.store.segments import segment_grid
from densedpo.video.io import read_video


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def next_task(client: TestClient) -> Any:
    response = client.post("/api/next")
    assert response.status_code == 200
    return response.json()


def say(client: TestClient, task: Any, *given: Any, status: int = 200, **changes: Any) -> Any:
    response = client.post("/api/answers", json=answer(task, *given, **changes))
    assert response.status_code == status, response.text
    return response.json()


def red_side(client: TestClient, task: Any, file: Path) -> str:
    """Where somebody sees member a, which is red: by the pixels of the file and the page's rule for `swap`."""
    file.write_bytes(client.get(f"/media/{task['id']}/pair").content)
    frames, fps = read_video(file)
    assert (len(frames), fps) == (FRAMES, 8)
    width, strip = task["width"], task["strip"]
    halves = [frames[0][300, strip + side * (width + strip) + 20] for side in range(2)]
    reds = [int(np.argmax(pixel)) == 0 for pixel in halves]
    assert sorted(reds) == [False, True]
    shown = reds[::-1] if task["swap"] else reds
    return "left" if shown[0] else "right"


def test_the_winner_is_what_was_seen_to_win_however_it_was_shown(project: Project, tmp_path: Path) -> None:
    sides = []
    for name in ("Ann", "Bob"):
        client = client_of(project, person(project, name=name)[1], tokens=True)
        task = next_task(client)
        sides.append(red_side(client, task, tmp_path / "seen.mp4"))
        other = {"left": "right", "right": "left"}[sides[-1]]
        for segment, choice in enumerate((sides[-1], other, "tie", "skip")):
            say(client, task, segment, choice)
    assert sorted(sides) == ["left", "right"]  # one pair, shown the other way round to the second person
    labels = all_labels(project)
    assert [(label.segment, label.choice) for label in labels] == [(0, "a"), (1, "b"), (2, "tie"), (3, "skip")] * 2
    assert {label.order_shown for label in labels[:4]} | {label.order_shown for label in labels[4:]} == {"ab", "ba"}
    result = consensus(labels, segment_grid(33, 8, 1), ConsensusPolicy())
    assert result.sign.tolist() == [1, -1, 0, 0] and result.labelled.tolist() == [True, True, True, False]


def test_nothing_that_a_page_gets_tells_which_side_is_a(project: Project) -> None:
    """Two people see one pair in opposite orders; all they get but `swap` and their own ids is the same."""
    got = []
    for name in ("Ann", "Bob"):
        client = client_of(project, person(project, name=name)[1], tokens=True)
        task = next_task(client)
        video = client.get(f"/media/{task['id']}/pair")
        headers = {key: video.headers[key] for key in ("etag", "content-length", "last-modified", "content-type")}
        got.append((task.pop("id"), task.pop("swap"), task, headers, video.content))
    (first, swapped, *ours), (second, other, *theirs) = got
    assert first != second and swapped != other
    assert ours == theirs
    pair = next(iter(project.pairs()))
    for secret in (pair.id, pair.media_a, pair.media_b):
        assert secret[:12] not in str(got)


def test_swap_says_nothing_about_a(project: Project) -> None:
    """Over many pairs a page's `swap` and the place of a are independent draws."""
    from densedpo.annotate.media import PlayerMedia

    media = PlayerMedia(project, 0)
    pair = next(iter(project.pairs()))
    counts = {(swap, left): 0 for swap in (True, False) for left in ("a", "b")}
    for number in range(400):
        fake = type("P", (), {"id": f"{number}-{pair.id}"})()
        order = assignments.order_shown(0, fake.id, 0)
        counts[media.a_first(fake) != (order == "ab"), order[0]] += 1
    assert min(counts.values()) > 65  # of 100 each, 4 standard deviations


def test_an_answer_sent_again_is_one_label(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    first = say(client, task, 0, "left")
    assert say(client, task, 0, "left", milliseconds=900) == first
    second = say(client, task, 0, "tie", replaces=first["id"])
    assert say(client, task, 0, "tie", replaces=first["id"]) == second
    assert [label.choice for label in project.labels()] == ["tie"]
    assert [label.supersedes for label in all_labels(project)] == [None, first["id"]]


def test_two_tabs_cannot_both_replace_one_label(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    first = say(client, task, 0, "left")
    say(client, task, 0, "right", status=409)
    say(client, task, 0, "right", replaces=first["id"])
    say(client, task, 0, "tie", replaces=first["id"], status=409)
    say(client, task, 1, "tie", replaces=first["id"], status=409)  # of another question
    say(client, task, 0, "tie", replaces="0" * 32, status=409)
    assert len(all_labels(project)) == 2


def test_undo_leaves_no_opinion_and_a_new_answer_can_follow(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    say(client, task, 0, None, status=422)
    first = say(client, task, 0, "left")
    gone = say(client, task, 0, None, replaces=first["id"])
    assert gone["choice"] is None
    assert next_task(client)["answers"] == [gone]
    result = consensus(project.labels(), segment_grid(33, 8, 1), ConsensusPolicy())
    assert not result.labelled.any()
    assert say(client, task, 0, "left", replaces=gone["id"])["choice"] == "left"
    assert len(all_labels(project)) == 3


def test_nobody_withdraws_by_a_comment(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    said = say(client, task, 0, "left", comment="[withdrawn]\0")
    assert (said["choice"], said["comment"]) == ("left", "[withdrawn]")


def test_a_label_says_how_it_came_about(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    say(client, task, 2, "skip", comment="  too dark ", milliseconds=1234)
    (label,) = project.labels()
    pair, person = next(iter(project.pairs())), client.get("/api/people").json()[0]
    assert (label.pair, label.annotator, label.annotator_kind) == (pair.id, person["id"], "human")
    assert (label.comment, label.milliseconds, label.assignment) == ("too dark", 1234, task["id"])
    assert (label.segment, label.segment_seconds, label.aspect) == (2, 1.0, "overall")
    held = assignments.find_assignment(project, task["id"])
    assert held and (label.seen, label.order_shown) == (held.seen, held.order_shown)
    assert len(label.seen) == 64


def test_a_session_goes_on_where_it_was_left(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    for segment in (1, 0):
        say(client, task, segment, "right", comment=f"in {segment}")
    again = next_task(client_of(project))
    assert again["id"] == task["id"]
    assert [(each["segment"], each["choice"], each["comment"]) for each in again["answers"]] == [
        (1, "right", "in 1"),
        (0, "right", "in 0"),
    ]
    assert client.get(f"/api/assignments/{task['id']}").json() == again


def test_a_pair_is_handed_in_whole_and_can_be_taken_up_again(project: Project) -> None:
    client = client_of(project)
    task = next_task(client)
    finish = f"/api/assignments/{task['id']}/finish"
    for segment in range(3):
        say(client, task, segment, "tie")
    assert client.post(finish).status_code == 409
    last = say(client, task, 3, "tie")
    assert client.post(finish).status_code == 200
    assert client.post(finish).status_code == 200  # sent again
    assert client.get("/api/progress").json() == pytest.approx(
        {"done": 1, "left": 1, "seconds": pytest.approx(5, abs=5), "previous": task["id"]}
    )
    assert next_task(client)["id"] != task["id"]
    say(client, task, 3, "left", replaces=last["id"], status=410)
    assert client.post(f"/api/assignments/{task['id']}/reopen").json()["id"] == task["id"]
    say(client, task, 3, "left", replaces=last["id"])
    assert next_task(client)["id"] == task["id"]


def test_when_all_is_labelled_there_is_nothing_left(project: Project) -> None:
    client = client_of(project)
    for _ in range(2):
        task = next_task(client)
        for segment in range(4):
            say(client, task, segment, "left")
        assert client.post(f"/api/assignments/{task['id']}/finish").status_code == 200
    assert next_task(client) is None


def test_a_lapsed_pair_takes_no_more_answers(project: Project) -> None:
    late, quick = (client_of(project, person(project)[1], tokens=True, overlap=1) for _ in range(2))
    task = next_task(late)
    kept = say(late, task, 0, "left")
    held = assignments.find_assignment(project, task["id"])
    assert held is not None
    assignments.resume(project, held.person, Queue(lease_seconds=-1))
    assert next_task(quick)["id"] != task["id"]
    say(late, task, 1, "left", status=410)
    assert say(late, task, 0, "left") == kept  # what was acknowledged stays so
    assert late.post(f"/api/assignments/{task['id']}/reopen").status_code == 410
    assert len(all_labels(project)) == 1


@pytest.mark.parametrize(
    ("settings", "questions"),
    [
        ({"mode": "whole"}, [[None, "overall"]]),
        ({"mode": "both"}, [[0, "overall"], [1, "overall"], [2, "overall"], [3, "overall"], [None, "overall"]]),
        ({"mode": "whole", "aspects": ("motion", "overall")}, [[None, "motion"], [None, "overall"]]),
    ],
)
def test_what_is_asked(project: Project, settings: dict[str, Any], questions: list[list[Any]]) -> None:
    client = client_of(project, **settings)
    task = next_task(client)
    assert task["questions"] == questions
    for segment, aspect in questions:
        say(client, task, segment, "tie", aspect=aspect)
    say(client, task, 0 if settings["mode"] == "whole" else 4, "tie", status=422)
    say(client, task, None, "tie", aspect="beauty", status=422)
    stored = sorted(([label.segment, label.aspect] for label in project.labels()), key=str)
    assert stored == sorted(questions, key=str)
    assert client.post(f"/api/assignments/{task['id']}/finish").status_code == 200


def test_a_choice_counts_only_after_a_look(project: Project) -> None:
    client = client_of(project, minimum_seconds=0.2)
    task = next_task(client)
    assert task["minimum_seconds"] == 0.2
    say(client, task, 0, "left", milliseconds=199, status=422)
    time.sleep(0.2)
    first = say(client, task, 0, "left", milliseconds=200)
    say(client, task, 0, "right", milliseconds=10, replaces=first["id"])


def test_the_real_clip_is_shown_only_where_the_lead_allows_it(project: Project, tmp_path: Path) -> None:
    client = client_of(project)
    task = next_task(client)
    assert task["real"] is False
    assert client.get(f"/media/{task['id']}/real").status_code == 404
    client = client_of(project, show_real=True)
    assert next_task(client)["real"] is True
    (tmp_path / "real.mp4").write_bytes(client.get(f"/media/{task['id']}/real").content)
    frames, _ = read_video(tmp_path / "real.mp4")
    assert frames.shape == (FRAMES, task["height"], task["width"] + task["strip"], 3)
    assert int(np.argmax(frames[0][300, 50])) == 1  # green


def test_a_pair_that_cannot_be_shown_is_passed_over(project: Project) -> None:
    first, second = project.pairs()
    media = project.media_path(first.media_a)
    media.write_bytes(b"no video")
    client = client_of(project)
    assert client.post("/api/next").json() is None  # both pairs share that file
    assert {event.detail["pair"] for event in project.events() if event.kind == "annotate-unplayable"} == {
        first.id,
        second.id,
    }


def test_files_are_rendered_once(project: Project) -> None:
    client = client_of(project)
    next_task(client)
    files = {file: file.stat().st_mtime_ns for file in project.cache_folder("annotate").iterdir()}
    assert files and all(file.suffix == ".mp4" for file in files)
    next_task(client_of(project))
    assert {file: file.stat().st_mtime_ns for file in project.cache_folder("annotate").iterdir()} == files
