"""Requests that nobody thought of: whatever the schema allows, and whatever it forbids, the server never breaks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from annotate_projects import make_project, person
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.python import asgi

from densedpo.annotate.app import create_app
from densedpo.annotate.session import COOKIE
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.assignments import Queue, take
from densedpo.store.project import Project

ORIGIN = "http://localhost"
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("fuzz") / "project", pairs=3, prompt="a square \u2028 walks")


@pytest.fixture(scope="module")
def app(project: Project) -> FastAPI:
    return create_app(project, AnnotateSettings(tokens=True, mode="both", show_real=True))


def operations(app: FastAPI) -> Iterator[Any]:
    """All routes: the application gives its schema to no client, but to us."""
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) >= 17
    yield from found


@contextmanager
def session(app: FastAPI, login: str) -> Iterator[Any]:
    with asgi.get_client(app) as client:
        client.headers.update({"origin": ORIGIN, "cookie": f"{COOKIE}={login}"})
        yield client


def attack(app: FastAPI, project: Project, role: people.Role | None, examples: int, both: bool) -> int:
    """Send `examples` requests to every route as somebody of that role; how many were let in.

    Of `both` modes, what the schema allows and what it forbids, or with each route of the other one.
    """
    let_in = 0
    for number, operation in enumerate(operations(app)):
        id = person(project, role or "annotator")[0]
        mine = take(project, next(project.pairs()).id, id, "seen", Queue(overlap=10**6))
        assert mine is not None
        login = people.log_in(project, id) if role else "x" * 43  # a new one for each route: one of them logs out
        with session(app, login) as client:
            modes = MODES if both else [MODES[number % 2]]
            let_in += sum(fuzz(operation, mode, examples, client, mine.id) for mode in modes)
    return let_in


def fuzz(operation: Any, mode: GenerationMode, examples: int, client: Any, mine: str) -> int:
    """Requests to one route, half of them about an assignment that there is; how many were let in."""
    let_in = 0

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode), own=st.booleans())
    def ask(case: Any, own: bool) -> None:
        nonlocal let_in
        if own:
            case.path_parameters = {**(case.path_parameters or {}), "id": mine}
            if isinstance(case.body, dict) and "assignment" in case.body:
                case.body = {**case.body, "assignment": mine}
        response = case.call(base_url=ORIGIN, session=client, allow_redirects=False)
        assert response.status_code < 500, (case.method, response.request.url, case.body, response.text)
        let_in += response.status_code < 400

    try:
        ask()
    except Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE, operation.label  # nothing about a route without parameters is wrong
    return let_in


def test_no_request_breaks_the_server(app: FastAPI, project: Project) -> None:
    """Whom every door is open to reaches the most; strangers are turned away by a test of their own."""
    assert attack(app, project, "lead", examples=3, both=False) > 5


@pytest.mark.long
@pytest.mark.parametrize("role", ["lead", "annotator", None])
def test_no_request_of_many_breaks_the_server(app: FastAPI, project: Project, role: people.Role | None) -> None:
    let_in = attack(app, project, role, examples=25, both=True)
    assert let_in > 50 or role is None


def test_the_server_shows_its_schema_to_nobody(app: FastAPI, project: Project) -> None:
    with session(app, people.log_in(project, person(project, "lead")[0])) as client:
        for path in ("/openapi.json", "/docs", "/redoc"):
            assert client.get(f"{ORIGIN}{path}").status_code == 404
