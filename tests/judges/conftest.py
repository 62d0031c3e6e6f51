"""What tests of judges start from."""

from pathlib import Path

import pytest
from judged_pairs import new_project

from densedpo.store.project import Project


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")
