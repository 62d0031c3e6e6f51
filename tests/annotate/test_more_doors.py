"""More of what the server refuses: paths as they are on the wire, stolen and expired secrets, bodies made to hurt."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from annotate_projects import ORIGIN, answer, client_of, make_project, person
from fastapi import FastAPI
from starlette.testclient import TestClient

from densedpo.annotate.app import create_app
from densedpo.annotate.session import COOKIE
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store import people
from densedpo.store.project import Project

NOBODYS = "0" * 32


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("doors") / "project", pairs=8)


@pytest.fixture(scope="module")
def app(project: Project) -> FastAPI:
    return create_app(project, AnnotateSettings(tokens=True))


@pytest.fixture(scope="module")
def ann(project: Project) -> Iterator[TestClient]:
    with client_of(project, person(project)[1], tokens=True) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(project: Project) -> Iterator[TestClient]:
    with client_of(project, tokens=True) as client:
        yield client


def on_the_wire(app: FastAPI, path: str, cookie: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Ask without a client that tidies up the path first, as ours do."""
    sent: list[Any] = []
    given = {"host": "localhost", "cookie": cookie, **headers}

    waiting = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()  # the client listens, and says nothing more
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])


def test_no_path_on_the_wire_leads_out(app: FastAPI, ann: TestClient, project: Project) -> None:
    cookie = f"{COOKIE}={ann.cookies[COOKIE]}"
    id = ann.post("/api/next").json()["id"]
    assert on_the_wire(app, "/static/label.js", cookie)[0] == 200
    assert on_the_wire(app, f"/media/{id}/pair", cookie)[0] == 200
    root = str(project.root)
    paths = ["/static/../app.py", "/static/../../store/project.py", "/static//etc/passwd", f"/static/{root}/project.db"]
    paths += ["/static/./../app.py", "/static/..\\app.py", "/static/\0", "/static/label.js/../../app.py", "/static/"]
    paths += [f"/media/{id}/../../project.db", f"/media/{id}/pair/../../../project.yaml", "/media/../project.db/pair"]
    paths += [f"/media/{root}/project.yaml/pair", "//etc/passwd", "/../../../../etc/passwd", f"/media/{id}\0/pair"]
    for path in paths:
        status, body = on_the_wire(app, path, cookie)
        assert status in (400, 404, 405), path
        assert b"import" not in body and b"fps:" not in body and b"root:" not in body and b"SQLite" not in body


def test_a_link_among_the_pages_files_is_not_followed(app: FastAPI, ann: TestClient, project: Project) -> None:
    from densedpo.annotate import pages

    link = pages.HERE / "static" / f"test-{NOBODYS}.js"
    link.symlink_to(project.root / "project.yaml")
    try:
        assert ann.get(f"/static/{link.name}").status_code == 404
    finally:
        link.unlink()


def test_every_route_that_changes_something_asks_where_one_comes_from(app: FastAPI, ann: TestClient) -> None:
    """Also routes to come; and no answer allows another site to read it."""
    changing = [(path, verb) for path, verbs in app.openapi()["paths"].items() for verb in verbs if verb != "get"]
    assert len(changing) >= 8
    for path, verb in changing:
        for origin in ("http://evil.example", "https://localhost.evil.example", "null"):
            response = ann.request(verb, path.replace("{id}", NOBODYS), headers={"origin": origin})
            assert response.status_code == 403, (verb, path)
            assert "access-control-allow-origin" not in response.headers
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for path in ("/api/answers", "/api/next", "/"):
        response = ann.options(path, headers=preflight)
        assert response.status_code in (403, 405)
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_no_route_that_only_reads_changes_anything(project: Project, app: FastAPI, ann: TestClient) -> None:
    """So that a link or a picture on another site, which sends no Origin, has nothing to set off."""
    before = (project.fingerprint(), len(list(project.events())))
    for path, verbs in app.openapi()["paths"].items():
        if "get" in verbs:
            ann.get(path.replace("{id}", NOBODYS).replace("{token}", "x"), headers={"origin": "http://evil.example"})
    assert (project.fingerprint(), len(list(project.events()))) == before


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "ODD", "get"])
def test_other_methods(ann: TestClient, verb: str) -> None:
    assert ann.request(verb, "/api/answers").status_code in (404, 405)
    override = {"x-http-method-override": "POST"}
    assert ann.get("/api/answers", headers=override).status_code in (404, 405)


def test_secrets_are_good_for_one_door_only(project: Project, stranger: TestClient) -> None:
    """An invitation is no login, a login no invitation; and what a stolen database holds opens nothing."""
    id, invitation = person(project)
    login = people.log_in(project, id)
    for cookie in (invitation, people.digest_of(login), people.digest_of(invitation), login[:-1], login + "A", ""):
        assert stranger.get("/api/progress", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401
    for token in (login, people.digest_of(invitation), people.digest_of(login), invitation[:-1]):
        assert stranger.post(f"/join/{token}").status_code == 404
    assert stranger.get("/api/progress", headers={"cookie": f"{COOKIE}={login}"}).status_code == 200
    for name in (COOKIE.upper(), f"x{COOKIE}"):
        assert stranger.get("/api/progress", headers={"cookie": f"{name}={login}"}).status_code == 401


def test_an_expired_login(project: Project, stranger: TestClient) -> None:
    id, _ = person(project)
    over = people.log_in(project, id, days=0)
    for path in ("/api/progress", "/people"):
        assert stranger.get(path, headers={"cookie": f"{COOKIE}={over}"}).status_code == 401
    assert stranger.get("/", headers={"cookie": f"{COOKIE}={over}"}).status_code == 401


def test_invitations_that_fail_all_look_alike(project: Project, stranger: TestClient) -> None:
    """Whoever tries links learns nothing about which ones there were."""
    used, expired, retired = person(project), person(project), person(project)
    people.invite(project, used[0])
    gone = people.invite(project, expired[0], days=0)
    people.set_state(project, retired[0], "retired")
    shown = [stranger.get(f"/join/{token}") for token in (used[1], gone, retired[1], "x" * 43)]
    assert {(each.status_code, each.text) for each in shown} == {(404, shown[0].text)}
    tried = [stranger.post(f"/join/{token}") for token in (used[1], gone, retired[1], "x" * 43)]
    assert {(each.status_code, each.text) for each in tried} == {(404, tried[0].text)}
    assert not [each for each in (*shown, *tried) if "set-cookie" in each.headers]


def test_a_stranger_cannot_tell_what_exists(ann: TestClient, stranger: TestClient) -> None:
    id = ann.post("/api/next").json()["id"]
    for path in ("/api/assignments/{}", "/media/{}/pair", "/media/{}/real"):
        there, missing = stranger.get(path.format(id)), stranger.get(path.format(NOBODYS))
        assert (there.status_code, there.text) == (missing.status_code, missing.text) == (401, there.text)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"milliseconds": ' + b"9" * 60_000 + b"}",
        b'{"milliseconds": 1e999}',
        b"\xff\xfe\x00",
        b'{"choice": "\xff"}',
        b"NaN",
        b"",
        b"null",
        b'"' + b"\\ud800" * 5000 + b'"',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_bodies_made_to_hurt(ann: TestClient, body: bytes) -> None:
    response = ann.post("/api/answers", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert "Traceback" not in response.text and "/site-packages/" not in response.text


def test_bodies_in_disguise(ann: TestClient) -> None:
    """A form of another site can send text/plain without asking; and nothing is unpacked, so nothing can swell."""
    task = ann.post("/api/next").json()
    good = json.dumps(answer(task)).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert ann.post("/api/answers", content=good, headers={"content-type": kind}).status_code == 422
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    bomb = gzip.compress(b" " * 10_000_000 + good)
    assert len(bomb) < 60_000
    assert ann.post("/api/answers", content=bomb, headers=packed).status_code in (400, 422)
    assert ann.get(f"/api/assignments/{task['id']}").json()["answers"] == []


def test_a_body_where_none_belongs(ann: TestClient) -> None:
    huge = b"x" * 1_000_000
    assert ann.request("GET", "/api/progress", content=huge).status_code in (200, 413)
    assert ann.request("POST", "/api/next", content=huge).status_code == 413


def test_ranges_made_to_hurt(ann: TestClient) -> None:
    """None makes the server send more than the file, or break."""
    path = f"/media/{ann.post('/api/next').json()['id']}/pair"
    size = len(ann.get(path).content)
    overlapping = "bytes=" + ",".join(["0-"] * 3000)
    spread = "bytes=" + ",".join(f"{2 * start}-{2 * start}" for start in range(3000))
    odd = ["bytes=-0", "bytes=0-0,", "bytes=,", "bytes= 0 - 1 ", "bytes=0x0-0x1", "bytes=\u0661-\u0662".encode()]
    for given in [overlapping, spread, *odd, f"bytes={2**64}-{2**65}", "bytes=-" + "9" * 5000]:
        response = ann.get(path, headers={"range": given})
        assert response.status_code in (200, 206, 400, 416), given[:30]
        assert len(response.content) <= 2 * size + 1000, given[:30]
    stale = {"range": "bytes=0-9", "if-range": '"another"'}
    assert ann.get(path, headers=stale).status_code == 200
    assert ann.head(path).content == b""


def test_no_answer_tells_what_runs_here(ann: TestClient, stranger: TestClient) -> None:
    for response in (ann.get("/"), stranger.get("/nothing"), ann.post("/api/answers"), ann.get("/static/nothing")):
        assert "server" not in response.headers and "x-powered-by" not in response.headers
        assert ORIGIN not in response.text
