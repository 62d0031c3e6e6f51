"""A project to report on: empty, or with everything."""

from pathlib import Path

import pytest
from report_study import Study, empty_study, full_study, team_study


@pytest.fixture
def empty(tmp_path: Path) -> Study:
    return empty_study(tmp_path / "project")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Shared by a module's tests: read it, do not add to it."""
    return full_study(tmp_path_factory.mktemp("study") / "project")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """As `full`, with people, a judge and more runs: read it, do not add to it."""
    return team_study(tmp_path_factory.mktemp("team") / "project")
