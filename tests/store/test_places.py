"""The order in which pairs are proposed, kept in memory, against what the database says."""

import random

import pytest
from store_rows import pair

from densedpo.store import assignments, people, places
from densedpo.store.assignments import Queue, take
from densedpo.store.gold import Gold, add_gold
from densedpo.store.places import Places
from densedpo.store.project import Project

COUNT, OVERLAP = 12, 3
QUEUE = Queue(overlap=OVERLAP)


def order(found: Places, had: set[str]) -> list[str]:
    """All pairs that would be proposed, one after another."""
    ids: list[str] = []
    while (id := found.next(had | set(ids))) is not None:
        ids.append(id)
    return ids


def fresh(project: Project) -> Places:
    found = Places(QUEUE)
    found.refresh(project)
    return found


def test_what_is_kept_is_what_the_database_holds(project: Project) -> None:
    """Pairs given out one by one, at random: the memory goes with it, and ends where nothing is left."""
    project.add_pairs(pair(number) for number in range(COUNT))
    names = [people.add_person(project, f"p{number}", "annotator").id for number in range(OVERLAP + 1)]
    kept, draw = fresh(project), random.Random(3)
    had: dict[str, set[str]] = {name: set() for name in names}
    for _ in range(COUNT * OVERLAP):
        able = [name for name in names if kept.next(had[name]) is not None]
        name = draw.choice(able)
        id = kept.next(had[name])
        assert id is not None and take(project, id, name, "seen", QUEUE) is not None
        kept.give(id)
        had[name].add(id)
        for held in assignments.history(project, name):
            assignments.finish(project, held.id)
        again = fresh(project)
        for each in names:
            assert order(kept, had[each]) == order(again, had[each])
            assert kept.count(had[each], project) == again.count(had[each], project) == len(order(again, had[each]))
        if not [each for each in names if kept.next(had[each])]:
            break
    assert sum(map(len, had.values())) > 2 * COUNT


def test_begun_pairs_first_the_most_begun_before_the_others(project: Project) -> None:
    project.add_pairs(pair(number) for number in range(4))
    ids = sorted(pair(number).id for number in range(4))
    found = fresh(project)
    for id in (ids[2], ids[3], ids[3]):
        found.give(id)
    assert order(found, set()) == [ids[3], ids[2], ids[0], ids[1]]
    found.give(ids[3])  # full
    found.give(ids[3])
    assert order(found, {ids[2]}) == ids[:2]


def test_it_takes_notice_of_new_pairs_known_answers_and_leases_that_ran_out(project: Project) -> None:
    once = Queue(overlap=1, lease_seconds=-1)
    ann = people.add_person(project, "Ann", "annotator").id
    project.add_pairs([pair(0)])
    found = Places(Queue(overlap=1))
    assert found.count(set(), project) == 1  # read when it is first asked
    held = take(project, pair(0).id, ann, "seen", Queue(overlap=1))
    assert held is not None
    found.refresh(project)
    assert found.next(set()) is None
    assignments.renew(project, held.id, once)
    found.refresh(project)
    assert found.next(set()) == pair(0).id
    project.add_pairs([pair(1), pair(2)])
    add_gold(project, [Gold(pair=pair(2).id, segment=0, aspect="overall", choice="a", origin="file")])
    found.refresh(project)
    assert set(order(found, set())) == {pair(0).id, pair(1).id}


def test_reading_takes_a_small_share_of_the_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.add_pairs([pair(0)])
    now = [100.0]
    monkeypatch.setattr(places.time, "monotonic", lambda: now[0])
    found = Places(QUEUE)
    assert found.stale
    found.refresh(project)
    assert not found.stale
    now[0] += places.FRESH_SECONDS + 0.01
    assert found.stale
    slow = places.reading

    def reading(project: Project):  # type: ignore[no-untyped-def]
        now[0] += 3.0  # a large project
        return slow(project)

    monkeypatch.setattr(places, "reading", reading)
    found.refresh(project)
    now[0] += 59.9
    assert not found.stale
    now[0] += 0.2
    assert found.stale
