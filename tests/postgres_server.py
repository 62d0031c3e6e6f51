"""A PostgreSQL server of our own, in a temporary folder, while the tests run; each project gets its own database."""

import contextlib
import getpass
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from densedpo.store import database

DEBIAN = Path("/usr/lib/postgresql")  # whose packages keep the server's programs off the path
MISSING = "PostgreSQL is missing: install the package `postgresql` to run these tests on it"
STARTING_SECONDS = 180


@dataclass(frozen=True)
class PostgresServer:
    """Reached through a socket in `folder` only. Databases are copies of one with all tables and no rows."""

    folder: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://densedpo@/{name}?host={self.folder}"

    def connect(self, name: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host=str(self.folder), user="densedpo", dbname=name, autocommit=True)

    def new_database(self) -> str:
        """The URL of a new database."""
        name = f"project_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE tables")
        return self.url(name)


def programs() -> Path | None:
    """The folder of initdb and postgres."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted((path.parent for path in DEBIAN.glob("*/bin/initdb")), reverse=True)
    return next((each for each in candidates if (each / "postgres").exists()), None)


@contextlib.contextmanager
def running(durable: bool = False) -> Generator[PostgresServer]:
    """Start a server and stop it at the end; `durable` as people would run it, else as fast as it goes."""
    place = programs()
    assert place is not None, MISSING
    with tempfile.TemporaryDirectory(prefix="densedpo-pg-") as name:
        folder, owner = Path(name), _unprivileged()
        os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
        who = {"user": owner} if os.geteuid() == 0 else {}  # the server refuses to run as root
        data = str(folder / "data")
        made = [place / "initdb", "-D", data, "-U", "densedpo", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **who)
        careless = [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        command = [place / "postgres", "-D", data, "-k", name, "-h", "", "-c", "max_connections=300", *careless]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, cwd=folder, **who) as process:
            try:
                server = PostgresServer(folder)
                _wait(server, process)
                _make_tables(server)
                yield server
            finally:
                process.send_signal(signal.SIGQUIT)  # "immediate": nobody needs the data any more


def _unprivileged() -> str:
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _wait(server: PostgresServer, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(STARTING_SECONDS * 20):
        assert process.poll() is None, (server.folder / "log").read_text()
        with contextlib.suppress(psycopg.OperationalError):
            server.connect().close()
            return
        time.sleep(0.05)
    raise AssertionError(f"PostgreSQL did not start in {STARTING_SECONDS} s")


def _make_tables(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE tables")
    engine = database.connect(server.folder, server.url("tables"))
    database.migrate(engine, "the tests")


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """The server; without PostgreSQL the test is skipped, and in CI, as every skipped test, failed."""
    if programs() is None:
        pytest.skip(MISSING)
    with running() as server:
        yield server
