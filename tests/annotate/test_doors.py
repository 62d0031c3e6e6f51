"""Who gets in, what they may do there, and what the server refuses whoever asks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotate_projects import HOSTILE, answer, client_of, make_project, person
from starlette.testclient import TestClient

from densedpo.annotate.app import create_app
from densedpo.annotate.security import BODY_BYTES
from densedpo.annotate.session import COOKIE
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store import people
from densedpo.store.project import Project

API = (
    ("POST", "/api/next"),
    ("GET", "/api/ahead"),
    ("GET", "/api/progress"),
    ("GET", "/api/assignments/x"),
    ("POST", "/api/assignments/x/finish"),
    ("POST", "/api/assignments/x/reopen"),
    ("POST", "/api/answers"),
    ("GET", "/media/x/pair"),
    ("GET", "/media/x/real"),
    ("GET", "/guideline"),
    ("GET", "/guideline/0"),
)
REVIEWERS = (
    ("GET", "/review"),
    ("POST", "/api/review/next"),
    ("GET", "/api/review/ahead"),
    ("GET", "/api/review/progress"),
)
LEADS = (
    ("GET", "/lead"),
    ("GET", "/api/dashboard"),
    ("POST", "/api/gold/settled"),
    ("GET", "/people"),
    ("GET", "/api/people"),
    ("POST", "/api/people"),
    ("POST", "/api/people/x/invite"),
    ("POST", "/api/people/x/state"),
    ("POST", "/api/people/x/labels"),
    ("POST", "/api/people/x/erase"),
)
NOBODYS = "0" * 32
BODIES: dict[str, Any] = {
    "/api/people": {"name": "Eve", "role": "lead"},
    "/api/people/x/state": {"state": "retired"},
    "/api/people/x/labels": {"aside": True},
    "/api/answers": answer({"id": NOBODYS}),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Shared by the tests here: what they add to it does not bother the others."""
    return make_project(tmp_path_factory.mktemp("doors") / "project", pairs=40)


@pytest.fixture(scope="module")
def ann(project: Project) -> Iterator[TestClient]:
    with client_of(project, person(project)[1], tokens=True) as client:
        yield client


@pytest.fixture(scope="module")
def lead(project: Project) -> Iterator[TestClient]:
    with client_of(project, person(project, "lead", "Lea")[1], tokens=True) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(project: Project) -> Iterator[TestClient]:
    with client_of(project, tokens=True) as client:
        yield client


def ask(client: TestClient, method: str, path: str, **changes: Any) -> Any:
    return client.request(method, path, json=BODIES.get(path), **changes)


def test_these_tables_hold_every_route(project: Project) -> None:
    app = create_app(project, AnnotateSettings(tokens=True))
    paths = {path for _, path in (*API, *REVIEWERS, *LEADS)}
    schema = {path.replace("{id}", "x").replace("{number}", "0") for path in app.openapi()["paths"]}
    assert schema == paths | {"/", "/join/{token}", "/leave"}


@pytest.mark.parametrize(("method", "path"), [*API, *REVIEWERS, *LEADS])
def test_a_stranger_gets_nothing(stranger: TestClient, method: str, path: str) -> None:
    assert ask(stranger, method, path).status_code == 401
    forged = {"cookie": f"{COOKIE}={'x' * 43}"}
    assert ask(stranger, method, path, headers=forged).status_code == 401


@pytest.mark.parametrize(("method", "path"), [*REVIEWERS, *LEADS])
def test_an_annotator_cannot_do_what_reviewers_and_leads_do(ann: TestClient, method: str, path: str) -> None:
    assert ask(ann, method, path).status_code == 403


def test_a_reviewer_cannot_do_what_leads_do(project: Project) -> None:
    with client_of(project, person(project, "reviewer", "Rea")[1], tokens=True) as rea:
        assert [ask(rea, *route).status_code for route in LEADS] == [403] * len(LEADS)
        assert [ask(rea, *route).status_code for route in REVIEWERS] == [200] * len(REVIEWERS)


@pytest.mark.parametrize("number", ["-1", "0", "1", "9" * 30, "x", "..", "%2e%2e", "0.png"])
def test_the_guideline_serves_only_what_it_shows(ann: TestClient, number: str) -> None:
    assert ann.get(f"/guideline/{number}").status_code in (200, 307, 404, 422)


def test_nobody_reaches_into_anothers_queue(project: Project, ann: TestClient, lead: TestClient) -> None:
    task = ann.post("/api/next").json()
    for path in [path for _, path in API if "/x" in path]:
        method = next(method for method, each in API if each == path)
        theirs, missing = ask(lead, method, path.replace("x", task["id"], 1)), ask(lead, method, path)
        assert (theirs.status_code, theirs.json()) == (missing.status_code, missing.json())
        assert theirs.status_code == 404
    assert lead.post("/api/answers", json=answer(task)).status_code == 404
    assert ann.get(f"/api/assignments/{task['id']}").status_code == 200


def test_invitations_and_how_they_end(project: Project, lead: TestClient, stranger: TestClient) -> None:
    made = lead.post("/api/people", json={"name": HOSTILE, "role": "annotator"}).json()
    browser = client_of(project, tokens=True)
    state = f"/api/people/{made['person']}/state"
    shown = browser.get(made["path"])
    assert shown.status_code == 200 and "<script>" not in shown.text and "<img" not in shown.text
    assert browser.get("/").status_code == 401  # looking at the invitation lets nobody in
    joined = browser.post(made["path"])
    flags = joined.headers["set-cookie"].lower()
    assert joined.status_code == 303 and "httponly" in flags and "samesite=strict" in flags
    assert browser.get("/").status_code == 200
    again = lead.post(f"/api/people/{made['person']}/invite").json()
    assert stranger.post(made["path"]).status_code == 404
    assert browser.post("/api/next").status_code == 200  # a new link does not end a login
    assert lead.post(state, json={"state": "paused"}).json()["state"] == "paused"
    assert browser.post("/api/next").status_code == 403 and "paused" in browser.get("/").text
    lead.post(state, json={"state": "retired"})
    assert browser.post("/api/next").status_code == 401
    assert stranger.post(again["path"]).status_code == 404
    assert lead.post(f"/api/people/{made['person']}/invite").status_code == 409


@pytest.mark.parametrize("token", ["x", "x" * 43, "%00", "é", "../join", "a" * 5000])
def test_wrong_invitations(stranger: TestClient, token: str) -> None:
    assert stranger.get(f"/join/{token}").status_code == 404
    assert stranger.post(f"/join/{token}").status_code in (404, 405)


def test_an_expired_invitation(project: Project, stranger: TestClient) -> None:
    id, _ = person(project)
    assert stranger.post(f"/join/{people.invite(project, id, days=0)}").status_code == 404


def test_whoever_leaves_is_out(project: Project) -> None:
    client = client_of(project, person(project)[1], tokens=True)
    token = client.cookies[COOKIE]
    assert client.get("/api/progress").status_code == 200
    assert client.post("/leave").status_code == 303
    client.cookies.set(COOKIE, token)
    assert client.get("/api/progress").status_code == 401


def test_a_lead_cannot_lock_themselves_out(project: Project, lead: TestClient) -> None:
    everybody = {each["name"]: each["id"] for each in lead.get("/api/people").json()}
    mine = people.logged_in(project, lead.cookies[COOKIE])
    assert mine is not None and mine.id in everybody.values()
    assert lead.post(f"/api/people/{mine.id}/state", json={"state": "retired"}).status_code == 409


@pytest.mark.parametrize("path", ["/api/next", "/api/answers", "/leave", "/api/people", "/join/x"])
def test_no_other_site_can_write(lead: TestClient, path: str) -> None:
    for origin in ("null", "", "http://evil.example", "http://localhost.evil.example", "localhost", "http://["):
        assert ask(lead, "POST", path, headers={"origin": origin}).status_code == 403, origin
    without = lead.build_request("POST", path, json=BODIES.get(path))
    del without.headers["origin"]
    assert lead.send(without).status_code == 403


def test_without_tokens_only_this_machine_is_answered(project: Project) -> None:
    client = client_of(project)
    for host in ("evil.example", "localhost.evil.example", "", "[", "127.0.0.1.nip.io"):
        assert client.get("/", headers={"host": host}).status_code == 400, host
    assert client.get("/", headers={"host": "127.0.0.1:8321"}).status_code == 200


def test_every_answer_carries_the_policy(project: Project, ann: TestClient) -> None:
    task = ann.post("/api/next").json()
    paths = ["/", "/static/label.js", "/api/progress", "/nothing", "/api/people", f"/media/{task['id']}/pair"]
    refused = ann.post("/api/next", headers={"origin": "http://evil.example"})
    for response in [refused, *(ann.get(path) for path in paths)]:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    assert ann.get("/api/progress").headers["cache-control"] == "no-store"


def test_no_page_needs_another_host() -> None:
    folder = Path(create_app.__code__.co_filename).parent
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".js", ".css")]
    assert len(files) > 8
    for path in files:
        text = path.read_text()
        assert "http://" not in text and "https://" not in text and "<script>" not in text
        assert " style=" not in text and " onclick=" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2fapp.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%00",
        "/media/../../project.yaml",
        "/media/..%2f..%2fproject.yaml/pair",
        "/media/%2e%2e/pair",
        "/media/x/../../../project.db",
    ],
)
def test_no_path_leads_out(ann: TestClient, path: str) -> None:
    response = ann.get(path)
    assert response.status_code in (400, 404)
    assert b"import" not in response.content and b"fps" not in response.content


def test_a_link_among_the_files_is_not_followed(project: Project, ann: TestClient) -> None:
    """A token is looked up in the database and never becomes part of a path."""
    link = project.cache_folder("annotate") / "x.mp4"
    link.symlink_to(project.root / "project.yaml")
    for name in ("x", "x.mp4"):
        assert ann.get(f"/media/{name}/pair").status_code == 404
    link.unlink()


def test_parts_of_a_video(ann: TestClient) -> None:
    path = f"/media/{ann.post('/api/next').json()['id']}/pair"
    whole = ann.get(path)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    part = ann.get(path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    tail = ann.get(path, headers={"range": "bytes=-5"})
    assert (tail.status_code, tail.content) == (206, whole.content[-5:])
    assert ann.get(path, headers={"range": f"bytes={size}-"}).status_code == 416
    for odd in ("bytes=5-2", "bytes=", "bytes=a-b", "lines=1-2", "bytes=--5", "bytes=0-" + "9" * 400):
        assert ann.get(path, headers={"range": odd}).status_code < 500
    many = "bytes=" + ",".join(f"{start}-" for start in range(2000))
    assert len(ann.get(path, headers={"range": many}).content) <= size + 200


def test_large_bodies_are_refused_before_they_are_read(ann: TestClient) -> None:
    headers = {"content-type": "application/json"}
    assert ann.post("/api/answers", content=b"x" * (BODY_BYTES + 1), headers=headers).status_code == 413
    chunks = (b"x" * 1000 for _ in range(BODY_BYTES // 1000 + 2))
    assert ann.post("/api/answers", content=chunks, headers=headers).status_code == 413  # length not told
    lying = {**headers, "content-length": "-1"}
    assert ann.post("/api/answers", content=b"x", headers=lying).status_code == 413


@pytest.mark.parametrize(
    "change",
    [
        {"choice": "a"},
        {"choice": "<script>"},
        {"segment": -1},
        {"segment": 10**30},
        {"segment": "0"},
        {"milliseconds": -1},
        {"milliseconds": 1e400},
        {"comment": "x" * 2001},
        {"aspect": None},
        {"extra": 1},
        {"assignment": "\x00"},
        {"comment": "\ud800"},
        {"replaces": "\x00"},
    ],
)
def test_malformed_answers(ann: TestClient, change: dict[str, Any]) -> None:
    task = ann.post("/api/next").json()
    body = json.dumps({**answer(task), **change})
    response = ann.post("/api/answers", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_trouble_on_the_server_is_told_without_its_paths(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(project)

    def full(*_: object) -> None:
        raise UserError(f"the disk is full, so {project.root} was not written")

    monkeypatch.setattr("densedpo.store.assignments.progress", full)
    response = client.get("/api/progress")
    assert response.status_code == 503 and str(project.root) not in response.text
