"""Killed at any moment, nothing that was acknowledged is lost, no half row is left, and no lock stays behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_rows import pair

from densedpo.errors import UserError
from densedpo.store.checks import validate
from densedpo.store.project import Project

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from store_rows import label, pair
from densedpo.store.project import Project
project = Project.open(Path(sys.argv[1]))
with project.lock("label"):
    for number in range(10_000):
        project.add_labels([label(pair(), segment, annotator=f"ann {number}") for segment in range(4)])
        print(number, flush=True)
"""


def start_writer(project: Project) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(project.root), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    )


def read_until(writer: "subprocess.Popen[str]", number: int) -> None:
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) == number:
            return
    raise AssertionError("the writer stopped before it was killed")


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.011])
def test_killed_between_and_during_writes(project: Project, delay: float) -> None:
    project.add_pairs([pair()])
    with start_writer(project) as writer:
        read_until(writer, 3)
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 3 + sum(1 for _ in writer.stdout or ())
        assert writer.wait() == -signal.SIGKILL
    again = Project.open(project.root)
    labels = list(again.labels())
    per_call = [sum(each.annotator == f"ann {number}" for each in labels) for number in range(acknowledged + 2)]
    assert per_call[: acknowledged + 1] == [4] * (acknowledged + 1)  # all that was said to be done
    assert per_call[acknowledged + 1] in (0, 4)  # the call that was cut short: all or nothing
    assert len(labels) == sum(per_call)
    assert {each.kind for each in validate(again)} <= {"missing-file"}  # the test's pairs have no files
    with sqlite3.connect(project.root / "project.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_second_process_is_told_who_holds_the_stage_and_a_killed_one_holds_nothing(project: Project) -> None:
    project.add_pairs([pair()])
    with start_writer(project) as writer:
        read_until(writer, 0)
        with (
            pytest.raises(UserError, match=rf"label is already running in .* \(process {writer.pid} on .*, since 20"),
            project.lock("label"),
        ):
            pass
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        with project.lock("label"):
            pass
