"""Connections that stay open, for a server: few of them, for many threads, whose writers take turns."""

import threading

import sqlalchemy as sa
from store_rows import label, pair

from densedpo.store import people
from densedpo.store.project import Project


def test_connections_are_kept_and_closed_at_the_end(project: Project) -> None:
    opened: list[object] = []
    with project.keeping_connections() as kept:
        sa.event.listen(kept._engine, "connect", lambda connection, _: opened.append(connection))
        for _ in range(3):
            people.add_person(kept, "Ann", "annotator")
        assert len(opened) == 1
        assert kept._engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    assert kept._engine.pool.checkedin() == 0  # type: ignore[attr-defined]
    assert len(people.people(project)) == 3


def test_many_threads_write_at_once(project: Project) -> None:
    project.add_pairs([pair()])
    start = threading.Barrier(16)

    def write(kept: Project, name: int) -> None:
        start.wait()
        for segment in range(4):
            kept.add_labels([label(pair(), segment, annotator=f"ann {name}")])

    with project.keeping_connections() as kept:
        threads = [threading.Thread(target=write, args=(kept, name)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(project.labels())) == 64
