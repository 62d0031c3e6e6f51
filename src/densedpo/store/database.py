"""The database under a project: engine, migrations, and the refusals that save one from losing it."""

import contextlib
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.migration
import alembic.script
import sqlalchemy as sa

from densedpo.errors import UserError
from densedpo.store import schema

NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs"),
    *("pvfs2", "orangefs", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse"),
    *("fuse.rclone", "fuse.davfs", "fuse.juicefs"),
}
BUSY_SECONDS = 60


KEPT_CONNECTIONS = 64  # more than a server has threads
_turns: weakref.WeakKeyDictionary[sa.Engine, threading.Lock] = weakref.WeakKeyDictionary()


def connect(root: Path, database: str | None, keep: bool = False) -> sa.Engine:
    """The engine of the project at `root`: its own SQLite file, or the server that the URL `database` names.

    With `keep` connections stay open between uses, and this process's writers queue up instead of polling SQLite's
    lock: for a server with many threads, not for use after a fork.

    Raises UserError for a network file system, a password in the URL, an unknown kind of server or a missing driver.
    """
    options: dict[str, Any] = {"poolclass": sa.NullPool, "json_serializer": schema.canonical_json}
    if keep:
        options |= {"poolclass": sa.QueuePool, "pool_size": KEPT_CONNECTIONS, "pool_pre_ping": database is not None}
    if database is not None:
        return _server(database, options)
    refuse_network_file_system(root)
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = sa.create_engine(f"sqlite:///{root / 'project.db'}", connect_args=arguments, **options)
    if keep:
        _turns[engine] = threading.Lock()

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        use_write_ahead_log(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait for writers before it changes to it, so we do."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def check_url(database: str) -> None:
    """Raise UserError unless `database` is the URL of a PostgreSQL server without a password in it."""
    try:
        url = sa.make_url(database)
    except sa.exc.ArgumentError:
        raise UserError(
            "the database is not given as a URL; write for example postgresql+psycopg://user@host/name"
        ) from None
    if url.drivername != "postgresql+psycopg":
        raise UserError(
            f"the database is of kind {url.drivername}, which is not supported; leave it out for SQLite in the "
            "project folder, or give postgresql+psycopg://user@host/name"
        )
    if url.password is not None or "password" in url.query:
        raise UserError(
            "the database URL holds a password, which would be stored in plain text; leave it out of the URL and put "
            "it in the file that PGPASSFILE names, or in the environment as PGPASSWORD"
        )


def _server(database: str, options: dict[str, Any]) -> sa.Engine:
    check_url(database)
    try:
        return sa.create_engine(database, **options)
    except ModuleNotFoundError as error:
        raise UserError(f"PostgreSQL needs the package {error.name}; pip install 'densedpo[postgres]'") from None


@contextlib.contextmanager
def writing(engine: sa.Engine, *tables: str) -> Iterator[sa.Connection]:
    """One transaction that is the only writer of `tables` from its start, so that look-then-insert is safe."""
    turn = _turns.get(engine) or contextlib.nullcontext()
    with turn, engine.execution_options(writing=True).begin() as connection:
        if tables and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
        yield connection


@contextlib.contextmanager
def clear_errors(place: str) -> Iterator[None]:
    """Turn what the database says (disk full, locked, unreachable, no database at all) into a UserError."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise UserError(
            f"nothing was added to {place}: a row refers to a clip, pair or label that is not there; add that one first"
        ) from None
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise UserError(f"the database {place} cannot be used: {reason}; mend that and run again") from error


def migrate(engine: sa.Engine, place: str) -> None:
    """Bring the tables up to this version. Raises UserError if a newer densedpo made them."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "densedpo.store:migrations")
    script = alembic.script.ScriptDirectory.from_config(config)
    with clear_errors(place):
        with engine.begin() as connection:
            revision = alembic.migration.MigrationContext.configure(connection).get_current_revision()
        if revision == script.get_current_head():
            return
        if revision is not None and revision not in {each.revision for each in script.walk_revisions()}:
            raise UserError(
                f"the database {place} was made by a newer densedpo (its revision is {revision}); upgrade densedpo"
            )
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")


def refuse_network_file_system(root: Path) -> None:
    """Raise UserError if `root` lies on a network file system, where SQLite can lose data (looks on Linux only)."""
    mounts = Path("/proc/self/mountinfo")
    kind = file_system_of(root.resolve(), mounts.read_text()) if mounts.exists() else ""
    if kind in NETWORK_FILE_SYSTEMS:
        raise UserError(
            f"{root} is on a network file system ({kind}), where SQLite can lose data; either keep the rows in "
            "PostgreSQL (--database postgresql+psycopg://user@host/name), or let every machine write a project on its "
            "own disk and join them with `densedpo merge`"
        )


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds the absolute `path`, by /proc/self/mountinfo's text; '' if unknown."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split()[4]))
        if path.is_relative_to(mount) and len(mount.parts) >= best:  # of mounts on one point the last is on top
            best, kind = len(mount.parts), after.split()[0]
    return kind
