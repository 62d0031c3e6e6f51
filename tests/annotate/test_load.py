"""Many at once, and the server killed under them: what it acknowledged is there, once, on both kinds of database."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from annotate_projects import make_project
from load_clients import Account, Annotators, Log, account, invite, percentile, serving

from densedpo.store.project import Project
from densedpo.store.schema import Label
from postgres_server import postgres  # noqa: F401 (a fixture)

PEOPLE, INTERVAL = 20, 0.5
LONG = 600.0  # seconds: nobody stops before the server does


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    on_server = request.param == "postgresql"
    settings = {"database": request.getfixturevalue("postgres").new_database()} if on_server else {}
    return make_project(tmp_path / "project", pairs=60, **settings)


async def work(project: Project, tokens: list[str], log: Log) -> list[str]:
    """Everybody labels until the server dies under them, after as many answers as they are. Their logins."""
    with serving(project) as (address, server):
        everybody = Annotators(address)
        await everybody.join(tokens)
        await everybody.begin()
        working = asyncio.create_task(everybody.label(LONG, INTERVAL, log))
        while len(log.acknowledged) < PEOPLE and not working.done():
            await asyncio.sleep(0.01)
        server.kill()
        await working
        await everybody.close()
    return everybody.cookies


async def go_on(project: Project, cookies: list[str], log: Log) -> None:
    """The same people on a new server: their logins hold, and they find their pairs as they left them."""
    with serving(project) as (address, _):
        everybody = Annotators(address, cookies)
        await everybody.begin()
        await everybody.label(INTERVAL, INTERVAL, log)  # an answer each
        await everybody.close()


def test_a_server_killed_under_load_has_all_that_it_acknowledged(project: Project) -> None:
    log = Log()
    cookies = asyncio.run(work(project, invite(project, PEOPLE), log))
    before = account(project.root, log)
    assert before.right and before.acknowledged >= PEOPLE
    assert before.unacknowledged <= log.unanswered <= PEOPLE  # stored, but the answer was cut off
    asyncio.run(go_on(project, cookies, log))
    after = account(project.root, log)
    assert after.right and after.acknowledged > before.acknowledged
    assert not log.refused


def test_the_account_finds_what_is_lost_and_what_is_double(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", pairs=1)
    log = Log()
    for segment in range(3):
        label = Label.make(
            pair=next(project.pairs()).id,
            seen="s",
            segment=segment,
            segment_seconds=1.0,
            choice="a",
            annotator_kind="human",
            annotator="ann",
            assignment="x",
        )
        project.add_labels([label])
        log.acknowledged.append(label.id)
    assert account(project.root, log) == Account(acknowledged=3, stored=3, lost=0, twice=0, unacknowledged=0)
    project.add_labels([replace(label, id="f" * 32)])  # a second answer to one question
    assert account(project.root, log) == Account(acknowledged=3, stored=4, lost=0, twice=1, unacknowledged=1)
    log.acknowledged.append("never stored")
    found = account(project.root, log)
    assert found.lost == 1 and not found.right


def test_percentiles() -> None:
    assert [percentile(range(1, 101), each) for each in (50, 99, 100)] == [50, 99, 100]
    assert [percentile([3.0, 1.0, 2.0], each) for each in (1, 50, 99)] == [1.0, 2.0, 3.0]
