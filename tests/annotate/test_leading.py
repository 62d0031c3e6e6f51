"""Gold pairs, repeats, practice, review, and what a lead can do about people: by the application's answers and rows."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotate_projects import all_labels, answer, client_of, make_project, person
from starlette.testclient import TestClient

from densedpo.annotate.schedule import GAP, Rates, upcoming
from densedpo.annotate.settings import AnnotateSettings
from densedpo.annotate.tasks import Answer
from densedpo.errors import UserError
from densedpo.store import answers, assignments, people
from densedpo.store.answers import opinions
from densedpo.store.assignments import Queue, find_assignment, take
from densedpo.store.consensus import ConsensusPolicy, consensus
from densedpo.store.gold import Gold, add_gold, gold_of, gold_pairs, read_gold
from densedpo.store.project import Project
from densedpo.store.segments import segment_grid
from postgres_server import PostgresServer

SEGMENTS = 4
SIDES = {"ab": {"a": "left", "b": "right"}, "ba": {"a": "right", "b": "left"}}


def shown(project: Project, task: Any, member: str) -> str:
    """What a person must press for a member (or a tie) of the pair that their task shows."""
    held = find_assignment(project, task["id"])
    assert held is not None
    return SIDES[held.order_shown].get(member, member)


def kind_of(project: Project, task: Any) -> str:
    held = find_assignment(project, task["id"])
    assert held is not None
    return held.kind


def label_pair(client: TestClient, project: Project, says: str | list[str], task: Any = None) -> Any:
    """Answer every question of the person's next pair and hand it in; the task, or None if there is none."""
    task = task or client.post("/api/next").json()
    if task is None:
        return None
    held = find_assignment(project, task["id"])
    assert held is not None
    labelling = client.app.state.labelling  # type: ignore[attr-defined]
    for place, (segment, aspect) in enumerate(task["questions"]):
        choice = shown(project, task, says if isinstance(says, str) else says[place])
        labelling.save(held, Answer(**answer(task, segment, choice, aspect=aspect)))  # quicker than by request
    done = client.post(f"/api/assignments/{task['id']}/finish")
    assert done.status_code == 200, done.text
    return task | {"feedback": done.json()}


def make_gold(project: Project, count: int, choice: str = "a") -> list[str]:
    chosen = [pair.id for pair in project.pairs()][:count]
    rows = [
        Gold(pair=pair, segment=segment, aspect="overall", choice=choice, origin="file")
        for pair in chosen
        for segment in range(SEGMENTS)
    ]
    assert add_gold(project, rows) == len(rows)
    return chosen


def enter(project: Project, role: people.Role = "annotator", name: str = "Ann", **settings: Any) -> TestClient:
    return client_of(project, person(project, role, name)[1], tokens=True, **settings)


def enter_where(
    project: Project, enough: Callable[[list[str]], bool], work: int, gold: int = 0, **settings: Any
) -> TestClient:
    """As `enter`, with a seed that lets the queue ahead of this person (whose id is random) hold `enough`."""
    id, token = person(project)
    asked = AnnotateSettings(**settings)
    rates = (Rates(asked.gold_rate, asked.repeat_rate, seed=seed) for seed in itertools.count())
    queues = ((each.seed, list(upcoming(each, id, [], work, gold, 0))) for each in rates)
    seed = next(seed for seed, queue in queues if enough([str(kind) for kind in queue]))
    return client_of(project, token, tokens=True, seed=seed, **settings)


def figures(project: Project, **settings: Any) -> dict[str, Any]:
    """Name → figures on the dashboard."""
    board = enter(project, "lead", "Lea", **settings).get("/api/dashboard")
    assert board.status_code == 200
    return {each["name"]: each for each in board.json()["people"]} | {"": board.json()}


def decided(project: Project, pair: str | None = None) -> list[Any]:
    """Signs by consensus of one pair, the first if none is named; None where nobody has a say."""
    pair = pair or next(iter(project.pairs())).id
    found = consensus(project.labels(pair), segment_grid(33, 8, 1), ConsensusPolicy())
    return [sign if there else None for sign, there in zip(found.sign.tolist(), found.labelled.tolist(), strict=True)]


# --- gold and repeats ---


def test_gold_and_repeats_are_mixed_in_at_their_rates_and_end_with_the_work() -> None:
    rates = Rates(gold=0.2, repeat=0.1, practice=2, seed=3)
    totals: Counter[str] = Counter()
    for name in range(40):
        kinds = list(upcoming(rates, f"p{name}", [], 100, 1000, 2))
        assert kinds[:2] == ["qualify"] * 2 and kinds.count("work") == 100 and kinds[-1] == "work"
        assert "repeat" not in kinds[: 2 + GAP + 1]
        totals.update(kinds)
        for cut in (1, 2, 30):  # what comes does not depend on when one asks
            had = kinds[:cut]
            left = 100 - had.count("work")
            rest = upcoming(rates, f"p{name}", had, left, 1000 - had.count("gold"), 2 - had.count("qualify"))
            assert list(rest) == kinds[cut:]
    checked = totals["work"] + totals["gold"] + totals["repeat"]
    assert totals["gold"] / checked == pytest.approx(0.2, abs=0.025)  # 4 standard deviations of 5,700 draws
    assert totals["repeat"] / checked == pytest.approx(0.1, abs=0.025)
    few = list(upcoming(Rates(gold=0.5), "p", [], 50, 3, 0))
    assert Counter(few) == {"work": 50, "gold": 3}
    assert list(upcoming(rates, "p", [], 0, 9, 9)) == []


def test_nothing_tells_a_gold_pair_or_a_repeat(tmp_path: Path) -> None:
    """All that a page gets has the same fields and values for work, gold and repeats; the total never moves."""
    project = make_project(tmp_path / "project", pairs=13)
    make_gold(project, 4)
    client = enter_where(project, lambda kinds: len(set(kinds)) == 3, 9, 4, gold_rate=0.4, repeat_rate=0.3)
    kinds, told, totals, sizes = [], set(), set(), set()
    for _ in range(40):
        task = client.post("/api/next").json()
        if task is None:
            break
        kinds.append(kind_of(project, task))
        video = client.get(f"/media/{task['id']}/pair")
        shape = {key: value for key, value in task.items() if key not in ("id", "swap")}
        sizes.add(tuple((key, video.headers[key]) for key in ("last-modified", "content-type", "cache-control")))
        first = client.post("/api/answers", json=answer(task, 0, "left"))
        again = client.post("/api/answers", json=answer(task, 0, "tie", replaces=first.json()["id"]))
        view = {**again.json(), "id": None}
        for segment in range(1, SEGMENTS):
            client.post("/api/answers", json=answer(task, segment, "tie"))
        done = client.post(f"/api/assignments/{task['id']}/finish")
        progress = client.get("/api/progress").json()
        totals.add(progress["done"] + progress["left"])
        assert progress["previous"] == task["id"] and len(task["id"]) == 32
        told.add(json.dumps([shape, sorted(view.items()), first.status_code, done.text], sort_keys=True))
    assert set(kinds) == {"work", "gold", "repeat"} and kinds.count("work") == 9
    assert len(told) == len(sizes) == len(totals) == 1


def test_a_repeat_is_an_older_pair_the_other_way_round(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=11)
    client = enter_where(project, lambda kinds: kinds.count("repeat") > 1, 11, repeat_rate=0.5)
    held = []
    while task := label_pair(client, project, "a"):
        held.append(find_assignment(project, task["id"]))
    places = {each.pair: place for place, each in enumerate(held) if each and each.kind == "work"}
    repeats = [(place, each) for place, each in enumerate(held) if each and each.kind == "repeat"]
    assert len(repeats) >= 2 and len({each.pair for _, each in repeats}) == len(repeats)
    for place, each in repeats:
        before = held[places[each.pair]]
        assert before is not None and place - places[each.pair] > GAP
        assert {before.order_shown, each.order_shown} == {"ab", "ba"}
    mine = figures(project)["Ann"]
    assert (mine["repeats"]["count"], mine["repeats"]["n"]) == (SEGMENTS * len(repeats),) * 2
    assert mine["left"]["count"] < mine["left"]["n"]  # a was not always on the left


def test_gold_and_repeats_join_no_consensus_but_tell_how_good_somebody_is(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=6)
    gold = make_gold(project, 3, choice="a")
    client = enter_where(project, lambda kinds: "gold" in kinds, 3, 3, gold_rate=0.5, overlap=1)
    said = {}
    while True:
        task = client.post("/api/next").json()
        if task is None:
            break
        kind = kind_of(project, task)
        said[kind] = label_pair(client, project, ["a", "a", "b", "tie"] if kind == "gold" else "b", task)
    labels = all_labels(project)
    asked = {label.aspect for label in labels if label.pair in gold}
    assert asked == {"gold:overall"} and all(decided(project, id) == [None] * 4 for id in gold)
    count = sum(label.pair in gold for label in labels)
    mine = figures(project)["Ann"]["gold"]
    assert (mine["count"], mine["n"]) == (count // 2, count) and count > 0
    assert mine["low"] < mine["share"] == 0.5 < mine["high"]
    assert figures(project)["Ann"]["labels"] == len(labels)


def test_reviewers_and_leads_are_not_checked(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=5)
    make_gold(project, 3)
    for role in ("reviewer", "lead"):
        client = enter(project, role, gold_rate=0.5, practice=2)  # type: ignore[arg-type]
        kinds = set()
        while task := label_pair(client, project, "a"):
            kinds.add(kind_of(project, task))
        assert kinds == {"work"}


def test_a_file_of_known_answers(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    pair = next(iter(project.pairs())).id
    file = tmp_path / "gold.jsonl"
    lines = [
        {"pair": pair, "segment": 0, "choice": "a"},
        {"pair": pair, "segment": None, "choice": "tie", "aspect": "motion"},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    client_of(project, gold=file)
    client_of(project, gold=file)  # again: nothing new
    assert [(row.segment, row.aspect, row.choice) for row in gold_of(project, pair)] == [
        (None, "motion", "tie"),
        (0, "overall", "a"),
    ]
    assert gold_pairs(project) == [pair]
    file.write_text(json.dumps({"pair": pair, "segment": 0, "choice": "b"}))
    with pytest.raises(UserError, match=r"segment 0 of pair .* is a already, so it cannot be b; leave that line out"):
        client_of(project, gold=file)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x", "line 1: not JSON"),
        ("[1]", "line 1: write"),
        ('{"pair": "x", "segment": 0}', "line 1: write"),
        ('{"pair": "x", "segment": 0, "choice": "a"}', "no pair 'x'"),
        ('{"pair": "P", "segment": 4, "choice": "a"}', "write 0 to 3, or null"),
        ('{"pair": "P", "segment": true, "choice": "a"}', "write 0 to 3, or null"),
        ('{"pair": "P", "segment": 0, "choice": "left"}', "one of a, b, tie"),
        ('{"pair": "P", "segment": 0, "choice": "a", "seg": 1}', "line 1: write"),
    ],
)
def test_mistakes_in_known_answers(tmp_path: Path, line: str, said: str) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    file = tmp_path / "gold.jsonl"
    file.write_text(line.replace("P", next(iter(project.pairs())).id))
    with pytest.raises(UserError, match=said):
        read_gold(project, file)


# --- practice ---


@pytest.mark.parametrize("good", [True, False])
def test_practice_comes_first_and_tells_what_is_right(tmp_path: Path, good: bool) -> None:
    project = make_project(tmp_path / "project", pairs=6)
    gold = make_gold(project, 3)
    client = enter(project, practice=2, gold_rate=0.5)
    first = client.post("/api/next").json()
    assert first["practice"] == {"number": 1, "of": 2}
    label_pair(client, project, ["a", "a", "a" if good else "b", "tie"], first)
    said = client.post(f"/api/assignments/{first['id']}/finish").json()  # again: the same words
    right = [each["given"] == each["right"] for each in said["compared"]]
    assert right == [True, True, good, False] and not said["last"] and not said["paused"]
    assert [each["segment"] for each in said["compared"]] == [0, 1, 2, 3]
    assert client.post(f"/api/assignments/{first['id']}/reopen").status_code == 410
    second = label_pair(client, project, ["a", "a", "a" if good else "b", "tie"])
    assert second["practice"] == {"number": 2, "of": 2}
    said = second["feedback"]
    assert (said["right"], said["asked"], said["last"], said["paused"]) == (6 if good else 4, 8, True, not good)
    after = client.post("/api/next")
    if not good:  # 4 of 8 is less than 0.7: the lead decides
        assert after.status_code == 403 and "paused" in client.get("/").text
        (ann,) = [each for each in people.people(project) if each.name == "Ann"]
        people.set_state(project, ann.id, "active")
        after = client.post("/api/next")
    assert after.json()["practice"] is None
    kinds = []
    while task := label_pair(client, project, "a"):
        kinds.append(kind_of(project, task))
    assert "qualify" not in kinds and kinds.count("gold") <= 1  # the third gold pair only: two were for practice
    practised = {label.pair for label in all_labels(project) if label.aspect == "qualify:overall"}
    assert len(practised) == 2 and practised <= set(gold)
    assert figures(project)["Ann"]["practice"]["n"] == 8


# --- review ---


def disagree(project: Project, *says: Any, **settings: Any) -> None:
    """Each of as many people as there are `says` labels all pairs so."""
    for number, say in enumerate(says):
        client = enter(project, name=f"P{number}", overlap=len(says), **settings)
        while label_pair(client, project, say):
            pass


def test_a_reviewer_sees_what_others_say_and_decides(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    disagree(project, ["a", "a", "b", "tie"], ["a", "b", "b", "a"])
    assert decided(project) == [1, 0, -1, 0]
    rea = enter(project, "reviewer", "Rea")
    task = rea.post("/api/review/next").json()
    assert task["questions"] == [[1, "overall"], [3, "overall"]]
    said = {(each["who"], each["segment"]): each["choice"] for each in task["opinions"]}
    assert said == {
        (1 + who, segment): shown(project, task, choice)
        for who, says in enumerate((["a", "a", "b", "tie"], ["a", "b", "b", "a"]))
        for segment, choice in enumerate(says)
    }
    assert rea.post("/api/answers", json=answer(task, 0, "left")).status_code == 422  # all agree there
    rea.post("/api/answers", json=answer(task, 1, shown(project, task, "b")))
    assert decided(project) == [1, 0, -1, 0]  # a decision counts when it is handed in
    assert rea.post(f"/api/assignments/{task['id']}/finish").status_code == 409
    last = rea.post("/api/answers", json=answer(task, 3, "tie", comment="both melt")).json()
    assert rea.post(f"/api/assignments/{task['id']}/finish").json() is None
    assert decided(project) == [1, -1, -1, 0]
    assert rea.post("/api/review/next").json() is None
    assert rea.get("/api/review/progress").json()["done"] == 1
    again = rea.post(f"/api/assignments/{task['id']}/reopen").json()
    assert again["questions"] == task["questions"] and len(again["answers"]) == 2
    rea.post("/api/answers", json=answer(task, 3, shown(project, task, "a"), replaces=last["id"]))
    rea.post(f"/api/assignments/{task['id']}/finish")
    rea.post(f"/api/assignments/{task['id']}/finish")
    assert decided(project) == [1, -1, -1, 1]
    kept = [each.choice for each in opinions(project.labels(superseded=True)) if each.kind == "work"]
    assert Counter(kept) == {"a": 4, "b": 3, "tie": 1}  # what the two said is still there


def test_one_reviewer_outweighs_three_annotators(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    disagree(project, "a", "a", "tie")
    assert decided(project) == [1] * 4
    rea = enter(project, "reviewer", "Rea", overlap=3)
    task = rea.post("/api/review/next").json()
    for segment, choice in enumerate(("b", "a", "tie", "skip")):
        rea.post("/api/answers", json=answer(task, segment, shown(project, task, choice)))
    rea.post(f"/api/assignments/{task['id']}/finish")
    assert decided(project) == [-1, 1, 0, None]  # what the reviewer cannot tell counts for nobody
    found = figures(project, overlap=3)
    assert [found[f"P{number}"]["consensus"]["count"] for number in range(3)] == [1, 1, 1]
    assert found["P0"]["consensus"]["n"] == 3


def test_what_a_reviewer_settled_is_given_to_nobody_else(tmp_path: Path) -> None:
    """Setting labels aside frees their places; one more label would make a draw of the decision."""
    project = make_project(tmp_path / "project", pairs=1)
    disagree(project, "a", "b")
    rea = enter(project, "reviewer", "Rea")
    task = rea.post("/api/review/next").json()
    for segment in range(SEGMENTS):
        rea.post("/api/answers", json=answer(task, segment, shown(project, task, "a")))
    rea.post(f"/api/assignments/{task['id']}/finish")
    lea = enter(project, "lead", "Lea")
    path = f"/api/people/{next(each.id for each in people.people(project) if each.name == 'P1')}"
    lea.post(f"{path}/state", json={"state": "retired"})
    assert lea.post(f"{path}/labels", json={"aside": True}).status_code == 200
    cid = enter(project, name="Cid", overlap=5)
    assert cid.post("/api/next").json() is None
    pair, mine = next(iter(project.pairs())).id, next(each.id for each in people.people(project) if each.name == "Cid")
    assert take(project, pair, mine, "seen", Queue(overlap=5)) is None
    assert decided(project) == [1] * SEGMENTS


def test_the_greatest_disagreement_comes_first_and_nobody_reviews_their_own(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=4)
    order = [pair.id for pair in project.pairs()]
    says = {
        order[0]: ["a"] * 4,
        order[1]: ["a", "tie", "a", "a"],
        order[2]: ["b", "b", "a", "a"],
        order[3]: ["b", "tie", "a", "a"],
    }
    for name, fixed in (("P0", True), ("P1", False)):
        client = enter(project, name=name)
        for _ in order:
            task = client.post("/api/next").json()
            held = find_assignment(project, task["id"])
            assert held is not None
            label_pair(client, project, ["a"] * 4 if fixed else says[held.pair], task)
    own = enter(project, "reviewer", "Rea")
    seen = []
    while task := own.post("/api/review/next").json():
        held = find_assignment(project, task["id"])
        assert held is not None and held.kind == "review"
        seen.append(held.pair)
        for segment, _ in task["questions"]:
            own.post("/api/answers", json=answer(task, segment, "tie"))
        own.post(f"/api/assignments/{task['id']}/finish")
    assert seen == [order[2], order[3], order[1]]
    assert project.labels(order[0]) and decided(project, order[0]) == [1] * 4


def test_two_reviewers_never_hold_one_pair_and_annotators_cannot_reopen_it(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=2)
    first = enter(project, name="P0")
    mine = [label_pair(first, project, "a"), label_pair(first, project, "a")]
    disagree_with = enter(project, name="P1")
    while label_pair(disagree_with, project, "b"):
        pass
    one, two = (enter(project, "reviewer", name) for name in ("Rea", "Rob"))
    tasks = [one.post("/api/review/next").json(), two.post("/api/review/next").json()]
    held = [find_assignment(project, task["id"]) for task in tasks]
    assert held[0] and held[1] and held[0].pair != held[1].pair
    assert enter(project, "reviewer", "Ron").post("/api/review/next").json() is None
    assert two.get(f"/api/assignments/{tasks[0]['id']}").status_code == 404
    for task in mine:
        assert first.post(f"/api/assignments/{task['id']}/reopen").status_code == 410


def test_what_a_reviewer_settled_can_become_gold(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=2)
    disagree(project, ["a", "a", "b", "tie"], ["a", "b", "b", "a"])
    rea, lea = enter(project, "reviewer", "Rea"), enter(project, "lead", "Lea")
    task = rea.post("/api/review/next").json()
    rea.post("/api/answers", json=answer(task, 1, shown(project, task, "b")))
    rea.post("/api/answers", json=answer(task, 3, "tie"))
    rea.post(f"/api/assignments/{task['id']}/finish")
    assert lea.get("/api/dashboard").json()["progress"]["new_gold"] == 1
    assert lea.post("/api/gold/settled").json() == {"answers": 2}
    assert lea.post("/api/gold/settled").json() == {"answers": 0}
    board = lea.get("/api/dashboard").json()["progress"]
    assert (board["gold"], board["new_gold"], board["settled"], board["disputed"]) == (1, 0, 1, 1)
    held = find_assignment(project, task["id"])
    assert held is not None
    known = {(row.segment, row.choice, row.origin) for row in gold_of(project, held.pair)}
    assert known == {(1, "b", "review"), (3, "tie", "review")}


def test_all_of_it_on_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    """Gold, practice, review, decision, set aside and back, erase, dashboard: the same words to another database."""
    project = make_project(tmp_path / "project", pairs=4, database=postgres.new_database())
    (known,) = make_gold(project, 1)
    for name, says in (("P0", ["a", "a", "b", "tie"]), ("P1", ["a", "b", "b", "a"])):
        client = enter(project, name=name, practice=1, practice_share=0, gold_rate=0.5)
        while label_pair(client, project, says):
            pass
    one, two = (next(each.id for each in people.people(project) if each.name == name) for name in ("P0", "P1"))
    rea = enter(project, "reviewer", "Rea")
    task = rea.post("/api/review/next").json()
    for segment, _ in task["questions"]:
        rea.post("/api/answers", json=answer(task, segment, "skip"))
    assert rea.post(f"/api/assignments/{task['id']}/finish").status_code == 200
    held = find_assignment(project, task["id"])
    assert held is not None and held.pair != known
    assert decided(project, held.pair) == [1, None, -1, None]
    assert answers.set_aside(project, two) == 2 * 4 + 2 and assignments.free_slots(project, two) == 3
    assert answers.restore(project, two) == 2 * 4 + 2 and assignments.take_back_slots(project, two) == 3
    people.erase(project, one)
    found = figures(project)
    assert found[""]["progress"]["complete"] == 3 and found[people.ERASED]["practice"]["n"] == 4
    assert found["P1"]["consensus"]["n"] == 2 * 4 + 2 and found[""]["agreement"][0]["questions"] == 12


# --- people ---


def test_labels_set_aside_count_no_more_and_can_come_back(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=2)
    disagree(project, "a", "b")
    before = [decided(project, pair.id) for pair in project.pairs()]
    lea = enter(project, "lead", "Lea")
    bob = next(each.id for each in people.people(project) if each.name == "P1")
    path = f"/api/people/{bob}"
    assert lea.post(f"{path}/labels", json={"aside": True}).status_code == 409  # they are at work
    lea.post(f"{path}/state", json={"state": "retired"})
    count = len(all_labels(project))
    assert lea.post(f"{path}/labels", json={"aside": True}).json() == {"labels": 8}
    assert lea.post(f"{path}/labels", json={"aside": True}).json() == {"labels": 0}
    assert before == [[0] * 4] * 2 and [decided(project, pair.id) for pair in project.pairs()] == [[1] * 4] * 2
    assert len(all_labels(project)) == count + 8  # nothing is gone
    found = figures(project)
    assert found["P1"]["aside"] and not found["P0"]["aside"] and found["P1"]["labels"] == 8
    assert found[""]["progress"]["done"] == 2 and found["P0"]["consensus"]["n"] == 0
    other = enter(project, name="Cid")
    label_pair(other, project, "tie")  # their place is free again
    assert lea.post(f"{path}/labels", json={"aside": False}).json() == {"labels": 8}
    assert not figures(project)["P1"]["aside"]
    again = [each for each in opinions(project.labels(superseded=True)) if each.annotator == bob]
    assert [(each.choice, each.aside) for each in again] == [("b", False)] * 8
    assert sorted(decided(project, pair.id) for pair in project.pairs()) == [[0] * 4] * 2
    assert enter(project, name="Dan").post("/api/next").json() is None  # both pairs are full


def test_a_name_is_erased_for_good_and_the_labels_stay(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    disagree(project, "a")
    lea = enter(project, "lead", "Lea")
    made = lea.post("/api/people", json={"name": "Xaver Quibble", "role": "annotator"}).json()
    assert b"Xaver" in stored(project)
    gone = lea.post(f"/api/people/{made['person']}/erase").json()
    assert (gone["name"], gone["state"], gone["invited"]) == (people.ERASED, "retired", False)
    assert b"Xaver" not in stored(project)
    assert lea.post(f"/api/people/{made['person']}/state", json={"state": "active"}).status_code == 409
    mine = next(each.id for each in people.people(project) if each.name == "Lea")
    assert lea.post(f"/api/people/{mine}/erase").status_code == 409
    assert lea.post("/api/people/nobody/erase").status_code == 404
    assert len(all_labels(project)) == SEGMENTS


def stored(project: Project) -> bytes:
    """All bytes of the database's files."""
    return b"".join(path.read_bytes() for path in project.root.glob("project.db*"))


# --- the dashboard ---


def test_the_dashboard_counts_what_happened(tmp_path: Path) -> None:
    """Two people, four pairs of four questions: worked out by hand."""
    project = make_project(tmp_path / "project", pairs=4)
    disagree(project, ["a", "a", "b", "tie"], ["a", "a", "b", "skip"])
    found = figures(project)
    progress, pace = found[""]["progress"], found[""]["pace"]
    assert (progress["pairs"], progress["complete"], progress["places"], progress["done"]) == (4, 4, 8, 8)
    assert (pace["labels"][-1], pace["pairs"], pace["active"], pace["seconds"]) == (32, 8, 2, 2.8)  # 4 times 0.7 s
    assert sum(pace["labels"]) == 32 and progress["hours_left"] == 0
    (alpha,) = found[""]["agreement"]
    assert (alpha["aspect"], alpha["questions"], alpha["alpha"]) == ("overall", 12, 1.0)
    one, two = found["P0"], found["P1"]
    assert (one["pairs"], one["labels"], one["seconds"]) == (4, 16, 0.7)
    assert (one["ties"]["count"], one["skips"]["count"], two["ties"]["count"], two["skips"]["count"]) == (4, 0, 0, 4)
    assert (one["consensus"]["count"], one["consensus"]["n"]) == (12, 12)
    assert one["left"]["n"] == two["left"]["n"] == 12
    assert one["left"]["count"] + two["left"]["count"] == 12  # the same choices, shown the other way round
    assert found["Lea"]["labels"] == 0 and found["Lea"]["consensus"]["share"] is None


def test_alpha_falls_when_people_differ(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=2)
    for name, first, second in (("P0", "a", "b"), ("P1", ["b", "b", "tie", "b"], ["b", "b", "a", "b"])):
        client = enter(project, name=name)
        for says in (first, second):
            label_pair(client, project, says)
    found = figures(project)
    (alpha,) = found[""]["agreement"]
    assert alpha["questions"] == 8 and alpha["low"] < alpha["alpha"] < alpha["high"] < 1
    assert found["P0"]["consensus"]["count"] == 3


# --- the guideline ---


def test_the_guideline_shows_no_html_of_its_own_and_only_files_beside_it(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "melt.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "walk.mp4").write_bytes(b"video")
    (tmp_path / "secret.png").write_bytes(b"secret")
    file = folder / "rules.md"
    file.write_text(
        "# Our *rules*\n\n<script>alert(1)</script> <b onclick=x>bold</b> [click](javascript:alert(2))\n\n"
        '![Melting](melt.png "t")\n\n![A " walk](walk.mp4)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n'
    )
    client = enter(project, guideline=file)
    page = client.get("/guideline").text
    assert "<h1>Our <em>rules</em></h1>" in page and "<td>1</td>" in page
    assert "<script>" not in page and "<b onclick" not in page and 'href="javascript' not in page
    assert 'src="/guideline/0"' in page and '<video src="/guideline/1" aria-label="A &quot; walk"' in page
    assert client.get("/guideline/0").headers["content-type"] == "image/png"
    assert client.get("/guideline/1").content == b"video"
    assert client.get("/guideline/2").status_code == 404
    assert "Our <em>rules</em>" in client.get("/").text  # beside the work, too
    token = person(project)[1]
    joined = client_of(project, tokens=True, guideline=file).post(f"/join/{token}")
    assert joined.headers["location"] == "/guideline"
    for source in (
        "../secret.png",
        "%2e%2e/secret.png",
        "/etc/passwd",
        "https://x.example/y.png",
        "rules.md",
        "no.png",
    ):
        file.write_text(f"![x]({source})")
        with pytest.raises(UserError, match="shows"):
            client_of(project, guideline=file)
    with pytest.raises(UserError, match="cannot be read"):
        client_of(project, guideline=folder / "absent.md")


# --- looking long enough, and the next pair's file ---


def test_the_servers_own_clock_counts_too(tmp_path: Path) -> None:
    """A page that lies about the time it showed a question gets no further than the clock."""
    project = make_project(tmp_path / "project", pairs=1)
    client = client_of(project, minimum_seconds=30)
    task = client.post("/api/next").json()
    said = client.post("/api/answers", json=answer(task, 0, "left", milliseconds=60_000))
    assert said.status_code == 422 and "30 s" in said.json()["error"]


def test_the_file_of_the_next_pair_can_be_had_ahead_but_no_other(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=4)
    client, other = enter(project), enter(project, name="Bob")
    task = client.post("/api/next").json()
    ahead = client.get("/api/ahead").json()["id"]
    assert ahead and ahead != task["id"]
    video = client.get(f"/media/{ahead}/pair")
    assert video.status_code == 200
    assert other.get(f"/media/{ahead}/pair").status_code == 404
    assert client.get(f"/api/assignments/{ahead}").status_code == 404  # it is not theirs yet
    assert client.get(f"/media/{ahead}/real").status_code == 404
    label_pair(client, project, "a", task)
    task = client.post("/api/next").json()
    assert task["id"] == ahead
    assert client.get(f"/media/{ahead}/pair").headers["etag"] == video.headers["etag"]
    for _ in range(3):
        label_pair(client, project, "a")
    assert client.get("/api/ahead").json() == {"id": None}
