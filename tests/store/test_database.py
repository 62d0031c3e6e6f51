"""The database: tables as declared, newer ones refused, and the places where SQLite must not live."""

import contextlib
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_rows import pair

from densedpo.errors import UserError
from densedpo.store import database as db
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.tables import metadata

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /data rw,relatime - nfs4 server:/data rw
31 30 8:2 / /data/local\040disk rw - xfs /dev/sdb1 rw
32 22 0:41 / /home/ann/remote rw shared:5 master:2 - fuse.sshfs ann@host: rw
33 22 0:42 / /stacked rw - ext4 /dev/sdc1 rw
34 22 0:43 / /stacked rw - cifs //server/share rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ann/project", "ext4"),
        ("/data/project", "nfs4"),
        ("/data", "nfs4"),
        ("/database", "ext4"),
        ("/data/local disk/project", "xfs"),
        ("/home/ann/remote/project", "fuse.sshfs"),
        ("/stacked/project", "cifs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert db.file_system_of(Path(path), MOUNTS) == kind


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "file_system_of", lambda *_: "nfs4")
    with pytest.raises(UserError, match=r"network file system \(nfs4\).*postgresql\+psycopg://.*densedpo merge"):
        Project.create(tmp_path / "project", ProjectSettings())
    assert not (tmp_path / "project" / "project.db").exists()


def test_the_migrations_make_the_declared_tables(project: Project) -> None:
    engine = db.connect(project.root, None)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_settings_that_keep_rows_safe_are_on(project: Project) -> None:
    with db.connect(project.root, None).begin() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_database_of_a_newer_densedpo(project: Project) -> None:
    set_revision(project, "9999")
    with pytest.raises(UserError, match=r"made by a newer densedpo \(its revision is 9999\); upgrade densedpo"):
        Project.open(project.root)


def test_an_older_database_is_brought_up_to_date(project: Project) -> None:
    """Before the first revision there were no tables: opening makes them."""
    (project.root / "project.db").unlink()
    (project.root / "project.db").touch()
    again = Project.open(project.root)
    assert again.add_pairs([pair()]) == 1


def test_creation_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    first = Project.create(tmp_path / "project", ProjectSettings())
    (first.root / "project.yaml").unlink()
    again = Project.create(tmp_path / "project", ProjectSettings())
    assert again.add_pairs([pair()]) == 1


def test_a_file_that_is_no_database(project: Project) -> None:
    (project.root / "project.db").write_text("no database, " * 100)
    with pytest.raises(UserError, match=f"the database {project.root} cannot be used: file is not a database"):
        Project.open(project.root)


def test_a_full_disk_is_said_and_adds_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    @sa.event.listens_for(sa.Engine, "begin")
    def tiny(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # SQLite's own simulation: clamps to the present size

    try:
        with pytest.raises(UserError, match=f"{project.root} cannot be used: database or disk is full"):
            project.add_pairs([pair(number) for number in range(400)])
    finally:
        sa.event.remove(sa.Engine, "begin", tiny)
    assert not list(project.pairs())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://ann:secret@host/name", "PGPASSFILE"),
        ("postgresql+psycopg://host/name?password=secret", "PGPASSFILE"),
        ("mysql://host/name", "of kind mysql, which is not supported"),
        ("a server", "is not given as a URL"),
        ("postgresql+psycopg2://host/name", r"of kind postgresql\+psycopg2, which is not supported"),
    ],
)
def test_database_urls_that_are_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Project.create(tmp_path / "project", ProjectSettings(), url)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "project" / "project.yaml").exists()


def test_a_missing_driver_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"needs the package psycopg; pip install 'densedpo\[postgres\]'"):
        Project.create(tmp_path / "project", ProjectSettings(), "postgresql+psycopg://host/name")


def test_two_writers_take_turns(project: Project) -> None:
    with db.writing(db.connect(project.root, None)), pytest.raises(sqlite3.OperationalError, match="locked"):
        other = sqlite3.connect(project.root / "project.db", timeout=0)
        try:
            other.execute("INSERT INTO event VALUES ('1', 'now', 'x', '{}')")
        finally:
            other.close()


def test_opening_a_new_file_waits_for_another_process_that_writes_to_it(tmp_path: Path) -> None:
    """SQLite's own waiting does not cover the change to write-ahead logging."""
    other = sqlite3.connect(tmp_path / "project.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    with contextlib.closing(other), db.connect(tmp_path, None).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        release.join()


def set_revision(project: Project, revision: str) -> None:
    connection = sqlite3.connect(project.root / "project.db")
    connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.commit()
    connection.close()
