"""Who labels what: tokens that open doors for a while, and pairs that nobody holds twice."""

import threading
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from store_rows import pair

from densedpo.store import assignments, people
from densedpo.store import database as db
from densedpo.store.assignments import Queue, order_shown
from densedpo.store.places import Places
from densedpo.store.project import Project
from densedpo.store.schema import utc_now
from densedpo.store.tables import assignment

LONG, OVER = Queue(), Queue(lease_seconds=-1)


@pytest.fixture
def ann(project: Project) -> str:
    return people.add_person(project, "Ann", "annotator").id


@pytest.fixture
def bob(project: Project) -> str:
    return people.add_person(project, "Bob", "annotator").id


def next_pairs(project: Project, person: str, queue: Queue = LONG) -> list[str]:
    """All pairs that this person could get, in the order in which they should be labelled."""
    places, had = Places(queue), {each.pair for each in assignments.past(project, person)}
    places.refresh(project)
    found = []
    while (id := places.next(had | set(found))) is not None:
        found.append(id)
    assert places.count(had, project) == len(found)
    return found


def take_next(project: Project, person: str, queue: Queue = LONG) -> assignments.Assignment | None:
    chosen = next_pairs(project, person, queue)
    return assignments.take(project, chosen[0], person, "seen", queue) if chosen else None


def test_an_invitation_opens_the_door_until_it_is_replaced(project: Project, ann: str) -> None:
    first = people.invite(project, ann)
    assert people.invited(project, first) == people.find_person(project, ann)
    second = people.invite(project, ann)
    assert people.invited(project, first) is None
    assert people.invited(project, second) is not None
    assert people.invited(project, people.invite(project, ann, days=0)) is None
    for wrong in ("", "x", second[:-1], second + "x"):
        assert people.invited(project, wrong) is None


def test_logins_end(project: Project, ann: str) -> None:
    token, other = people.log_in(project, ann), people.log_in(project, ann)
    found = people.logged_in(project, token)
    assert found is not None and (found.id, found.name, found.role) == (ann, "Ann", "annotator")
    people.log_out(project, token)
    assert people.logged_in(project, token) is None
    assert people.logged_in(project, other) is not None
    assert people.logged_in(project, people.log_in(project, ann, days=0)) is None


def test_whoever_retires_is_out(project: Project, ann: str) -> None:
    link, token = people.invite(project, ann), people.log_in(project, ann)
    people.set_state(project, ann, "paused")
    found = people.logged_in(project, token)
    assert found is not None and found.state == "paused"
    people.set_state(project, ann, "retired")
    assert people.logged_in(project, token) is None
    assert people.invited(project, link) is None


def test_the_database_holds_no_token(project: Project, ann: str) -> None:
    tokens = people.invite(project, ann), people.log_in(project, ann)
    stored = b"".join(path.read_bytes() for path in project.root.glob("project.db*"))
    assert people.digest_of(tokens[0]).encode() in stored
    assert not [token for token in tokens if token.encode() in stored]


def test_a_pair_goes_to_as_many_people_as_overlap_and_to_each_once(project: Project) -> None:
    project.add_pairs([pair(0)])
    names = [people.add_person(project, f"p{number}", "annotator").id for number in range(3)]
    given = [take_next(project, name) for name in names]
    assert [each is not None and each.slot for each in given] == [0, 1, False]
    assert given[0] and assignments.finish(project, given[0].id)
    assert take_next(project, names[0]) is None


def test_of_people_who_ask_at_once_each_slot_has_one_holder(project: Project) -> None:
    project.add_pairs([pair(0)])
    names = [people.add_person(project, f"p{number}", "annotator").id for number in range(8)]
    given: list[assignments.Assignment | None] = []
    start = threading.Barrier(len(names))

    def ask(name: str) -> None:
        start.wait()
        given.append(assignments.take(project, pair(0).id, name, "seen", Queue(overlap=3)))

    threads = [threading.Thread(target=ask, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.slot for each in given if each) == [0, 1, 2]
    assert len(given) == 8


def test_the_database_itself_refuses_a_second_holder(project: Project, ann: str, bob: str) -> None:
    project.add_pairs([pair(0)])
    held = take_next(project, ann)
    assert held is not None
    row = asdict(held) | {"id": "another", "person": bob}
    with pytest.raises(sa.exc.IntegrityError), db.connect(project.root, None).begin() as connection:
        connection.execute(sa.insert(assignment).values(row))
    with db.connect(project.root, None).begin() as connection:
        connection.execute(sa.insert(assignment).values(row | {"state": "lapsed"}))


def test_a_lease_that_ran_out_passes_to_whoever_asks(project: Project, ann: str, bob: str) -> None:
    project.add_pairs([pair(0)])
    once = Queue(overlap=1)
    first = take_next(project, ann, once)
    assert first and take_next(project, bob, once) is None
    assignments.resume(project, ann, OVER)
    second = take_next(project, bob, once)
    assert second and (second.slot, second.order_shown) == (first.slot, first.order_shown)
    assert not assignments.renew(project, first.id, once)
    assert not assignments.finish(project, first.id)
    assert assignments.resume(project, ann, once) is None
    assert assignments.finish(project, second.id)


def test_nobody_asked_so_the_holder_goes_on(project: Project, ann: str) -> None:
    project.add_pairs([pair(0)])
    held = take_next(project, ann, OVER)
    again = assignments.resume(project, ann, LONG)
    assert held and again and again.id == held.id
    assert held.lease_until < utc_now() < again.lease_until


def test_whoever_has_an_open_pair_gets_that_one(project: Project, ann: str) -> None:
    project.add_pairs(pair(number) for number in range(3))
    first = take_next(project, ann)
    assert first and take_next(project, ann) is not None
    again = take_next(project, ann)
    assert again is not None and again.id == first.id


def test_begun_pairs_come_first_then_id_order(project: Project, ann: str, bob: str) -> None:
    project.add_pairs(pair(number) for number in range(5))
    ids = sorted(pair(number).id for number in range(5))
    assert next_pairs(project, ann) == ids
    assignments.take(project, ids[3], ann, "seen", LONG)
    assert next_pairs(project, bob) == [ids[3], *ids[:3], ids[4]]


def test_only_the_pairs_asked_for(project: Project, ann: str) -> None:
    rows = [pair(0), pair(1, near_identical=True), pair(2, split="test")]
    project.add_pairs(rows)
    assert next_pairs(project, ann, Queue(split="train")) == [rows[0].id]
    assert len(next_pairs(project, ann, Queue(near_identical=True))) == 3


def progress(project: Project, person: str) -> assignments.Progress:
    return assignments.progress(project, person, len(next_pairs(project, person)))


def test_progress_counts_what_is_handed_in_and_what_can_be_had(project: Project, ann: str) -> None:
    project.add_pairs(pair(number) for number in range(3))
    held = take_next(project, ann)
    found = progress(project, ann)
    assert held and (found.done, found.left, found.seconds, found.previous) == (0, 3, (), None)
    assignments.finish(project, held.id)
    found = progress(project, ann)
    assert (found.done, found.left) == (1, 2) and 0 < found.seconds[0] < 60
    assert found.previous == held.id
    assert assignments.done_by_person(project) == {ann: 1}
    assert assignments.reopen(project, held.id, LONG) and not assignments.reopen(project, held.id, LONG)


def test_the_order_shown_is_drawn_by_the_seed_and_turned_for_the_second_person() -> None:
    ids = [pair(number).id for number in range(400)]
    first = [order_shown(7, id, 0) for id in ids]
    assert first == [order_shown(7, id, 0) for id in ids]
    assert all({order_shown(7, id, 0), order_shown(7, id, 1)} == {"ab", "ba"} for id in ids)
    assert 150 < first.count("ab") < 250  # 5 standard deviations
    assert 150 < sum(order_shown(8, id, 0) == mine for id, mine in zip(ids, first, strict=True)) < 250


def test_an_older_database_gets_the_new_tables(project: Project, tmp_path: Path) -> None:
    with db.connect(project.root, None).begin() as connection:
        for table in ("gold", "judgement", "assignment", "login", "person"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    again = Project.open(project.root)
    assert people.add_person(again, "Ann", "lead").state == "active"
