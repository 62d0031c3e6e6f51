"""The command: where it listens, what it says, and that nothing acknowledged is lost when it is killed."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from annotate_projects import all_labels, answer, client_of, make_project

from densedpo import cli
from densedpo.annotate.app import create_app
from densedpo.annotate.session import lead_link
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store.project import Project, ProjectSettings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("serving") / "project")


def post(address: str, path: str, body: Any = None) -> Any:
    headers = {"origin": address, "content-type": "application/json"}
    asked = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=60) as response:
        return json.load(response)


def answers_of(server: "subprocess.Popen[str]") -> list[str]:
    """Give a dozen answers to the server; the labels that it acknowledged."""
    assert server.stdout is not None
    said = server.stdout.readline()
    found = re.search(r"labelling at (http://127\.0\.0\.1:\d+);", said)
    assert found, said
    task, acknowledged, latest = post(found[1], "/api/next"), [], None
    for number in range(12):
        choice = ("left", "right", "tie")[number % 3]
        latest = post(found[1], "/api/answers", answer(task, 0, choice, replaces=latest))["id"]
        acknowledged.append(latest)
    return acknowledged


def test_a_killed_server_has_every_answer_it_acknowledged(project: Project) -> None:
    command = [sys.executable, "-m", "densedpo", "annotate", str(project.root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            acknowledged = answers_of(server)
        finally:
            server.kill()  # SIGKILL, in the middle of it
    again = Project.open(project.root)
    assert [label.id for label in all_labels(again)] == acknowledged
    assert [label.id for label in again.labels()] == acknowledged[-1:]


def test_strangers_are_not_let_in_by_an_address(project: Project) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UserError, match=r"anybody who can reach .* could label and read; add --tokens"):
            create_app(project, AnnotateSettings(host=host))
        create_app(project, AnnotateSettings(host=host, tokens=True))
    for host in ("127.0.0.1", "::1", "localhost"):
        create_app(project, AnnotateSettings(host=host))


def test_the_leads_link_leads_to_a_lead(project: Project) -> None:
    assert lead_link(project, AnnotateSettings()) is None
    path = lead_link(project, AnnotateSettings(tokens=True))
    assert path is not None
    client = client_of(project, path.removeprefix("/join/"), tokens=True)
    assert client.get("/people").status_code == 200


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path / "project", ProjectSettings())
    assert cli.run(["annotate", str(tmp_path / "project")]) == 2
    assert "has no pairs to label; make some with `densedpo pairs`" in capsys.readouterr().err
    assert cli.run(["annotate", str(tmp_path / "project"), "--host", "0.0.0.0"]) == 2
    assert "add --tokens" in capsys.readouterr().err
