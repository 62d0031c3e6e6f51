"""A project, and files to put in it; rows are in `store_rows.py`. Where it is cheap, both on SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_rows import SETTINGS

from densedpo.store.project import Project
from postgres_server import postgres  # noqa: F401 (a fixture)

ON_BOTH = (
    "test_project",
    "test_merge",
    "test_people_and_assignments",
    "test_exchange_round_trip",
    "test_exchange_mistakes",
)
ON_SQLITE = {  # they look into its file, or take it away
    "test_open_without_the_database_makes_no_empty_one",
    "test_the_database_holds_no_token",
    "test_the_database_itself_refuses_a_second_holder",
    "test_an_older_database_gets_the_new_tables",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    both = metafunc.module.__name__ in ON_BOTH and metafunc.function.__name__ not in ON_SQLITE
    if both and "project" in metafunc.fixturenames:
        metafunc.parametrize("project", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    on_server = getattr(request, "param", "sqlite") == "postgresql"
    database = request.getfixturevalue("postgres").new_database() if on_server else None
    return Project.create(tmp_path / "project", SETTINGS, database)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a finished temporary file with the text given."""

    def make(text: str) -> Path:
        path = tmp_path / "finished.tmp"
        path.write_text(text)
        return path

    return make
