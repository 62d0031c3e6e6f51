"""A project, and files to put in it; rows are in `store_rows.py`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_rows import SETTINGS

from densedpo.store.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", SETTINGS)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a finished temporary file with the text given."""

    def make(text: str) -> Path:
        path = tmp_path / "finished.tmp"
        path.write_text(text)
        return path

    return make
