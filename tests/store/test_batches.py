"""Jobs that share a transaction: all of them are durable when they are done, and none suffers by another's fault."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from store_rows import label, pair

from densedpo.errors import UserError
from densedpo.store import people
from densedpo.store.batches import Batches
from densedpo.store.project import Project
from postgres_server import postgres  # noqa: F401 (a fixture)

PATIENCE = 60


class NoError(Exception):
    """How jobs say no here."""


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    from densedpo.store.project import ProjectSettings

    on_server = request.param == "postgresql"
    settings = {"database": request.getfixturevalue("postgres").new_database()} if on_server else {}
    made = Project.create(tmp_path / "project", ProjectSettings(**settings))
    made.add_pairs([pair()])
    return made


def together(batches: Batches, jobs: list[Callable[[], Any]]) -> list[Any]:
    """Hand in all the jobs while the thread is busy, so that they share a transaction; results or what was raised."""
    busy, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        busy.set()
        assert go_on.wait(PATIENCE)

    first = batches.submit(wait)
    assert busy.wait(PATIENCE)
    futures = [batches.submit(job) for job in jobs]
    go_on.set()
    first.result(PATIENCE)
    return [future.exception(PATIENCE) or future.result() for future in futures]


def commits(project: Project) -> list[object]:
    seen: list[object] = []
    sa.event.listen(project._engine, "commit", seen.append)
    return seen


def test_jobs_that_wait_share_a_commit_and_see_each_other(project: Project) -> None:
    batches = Batches(project, "label", refusal=NoError)

    def add(segment: int) -> int:
        batches.project.add_labels([label(pair(), segment)])
        return len(list(batches.project.labels()))

    seen = commits(project)
    assert together(batches, [lambda n=n: add(n) for n in range(5)]) == [1, 2, 3, 4, 5]
    assert len(seen) == 2  # that of the job that made them wait, and theirs
    assert len(list(Project.open(project.root).labels())) == 5


def test_nobody_is_told_before_the_commit(project: Project) -> None:
    batches = Batches(project, "label", refusal=NoError)
    there: list[bool] = []

    def look(_: sa.Connection) -> None:  # just before the commit
        there.append(future.done())

    held = threading.Event()

    def add() -> None:
        assert held.wait(PATIENCE)
        batches.project.add_labels([label(pair(), 0)])

    future = batches.submit(add)
    sa.event.listen(project._engine, "commit", look)
    held.set()
    future.result(PATIENCE)
    assert there == [False]


def test_a_job_that_says_no_leaves_the_others_alone(project: Project) -> None:
    batches = Batches(project, "label", refusal=NoError)

    def refuse(after_writing: bool) -> None:
        if after_writing:
            batches.project.add_labels([label(pair(), 7)])
        raise NoError

    def add(segment: int) -> int:
        return batches.project.add_labels([label(pair(), segment)])

    for after_writing in (False, True):
        jobs = [lambda: add(0), lambda: refuse(after_writing), lambda: add(1)]  # noqa: B023 (done at once)
        results = together(batches, jobs)
        assert isinstance(results[1], NoError) and (results[0], results[2]) == ((1, 1), (0, 0))[after_writing]
    assert [each.segment for each in sorted(project.labels(), key=lambda each: each.segment or 0)] == [0, 1]


def test_a_job_that_fails_is_undone_and_the_others_are_not(project: Project) -> None:
    batches = Batches(project, "label", refusal=NoError)

    def add(number: int, segment: int) -> int:
        return batches.project.add_labels([label(pair(number), segment)])  # number 1 refers to a pair that is missing

    def break_off() -> None:
        batches.project.add_labels([label(pair(), 8)])
        raise ZeroDivisionError

    results = together(batches, [lambda: add(0, 0), lambda: add(1, 1), break_off, lambda: add(0, 2)])
    assert (results[0], results[3]) == (1, 1)
    assert isinstance(results[1], UserError) and isinstance(results[2], ZeroDivisionError)
    assert {each.segment for each in Project.open(project.root).labels()} == {0, 2}
    assert together(batches, [lambda: add(0, 3)]) == [1]  # and it goes on


def test_those_that_look_do_not_wait_for_those_that_write(project: Project) -> None:
    lookers, writers = Batches(project, refusal=NoError), Batches(project, "label", refusal=NoError)
    wrote, go_on = threading.Event(), threading.Event()

    def write() -> None:
        writers.project.add_labels([label(pair(), 0)])
        wrote.set()
        assert go_on.wait(PATIENCE)

    writing = writers.submit(write)
    assert wrote.wait(PATIENCE)
    assert lookers.submit(lambda: len(list(lookers.project.labels()))).result(PATIENCE) == 0
    go_on.set()
    writing.result(PATIENCE)
    assert lookers.submit(lambda: len(list(lookers.project.labels()))).result(PATIENCE) == 1


def test_store_functions_join_the_transaction(project: Project) -> None:
    batches = Batches(project, "person", refusal=NoError)

    def add_then_fail() -> None:
        made = people.add_person(batches.project, "Ann", "annotator")
        assert people.find_person(batches.project, made.id) == made
        assert people.find_person(project, made.id) is None  # not committed
        raise ZeroDivisionError

    assert isinstance(together(batches, [add_then_fail])[0], ZeroDivisionError)
    assert people.people(project) == []
    assert list(project.events()) == []
