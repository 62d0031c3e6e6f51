"""People at work, simulated: a real server process, real HTTP, and a log of all that the server acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from densedpo.store import people
from densedpo.store.project import Project

CHOICES = ("left", "right", "tie")
LOST = (OSError, asyncio.IncompleteReadError, TimeoutError)  # the server is gone, or the answer never came
PATIENCE = 60.0  # seconds


@dataclass
class Log:
    """What the clients saw. `seconds` of each kind of request; `acknowledged` are the ids of labels."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    unanswered: int = 0  # answers sent whose fate is unknown
    refused: Counter[str] = field(default_factory=Counter)
    late: float = 0.0  # by how much a client came to send an answer after its time, at worst

    def took(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)


class Response(NamedTuple):
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Browser:
    """One person's HTTP/1.1 connection, which stays open. Client libraries cost more than the server that they ask."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, cookie: str = "", body: Any = None) -> Response:
        """Ask, and read the whole answer. Raises one of `LOST`."""
        if self._streams is None or self._streams[0].at_eof():
            await self.close()
            place = urlsplit(self._address)
            self._streams = await asyncio.open_connection(place.hostname, place.port)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: {urlsplit(self._address).netloc}\r\norigin: {self._address}\r\n"
        head += f"cookie: {cookie}\r\n" if cookie else ""
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        async with asyncio.timeout(PATIENCE):
            return await self._read(reader)

    async def _read(self, reader: asyncio.StreamReader) -> Response:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        return Response(int(first.split(" ", 2)[1]), headers, body)

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(*LOST):
                await self._streams[1].wait_closed()
            self._streams = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(percent * len(ordered)) // 100) - 1)] if ordered else float("nan")


@contextlib.contextmanager
def serving(project: Project, *flags: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """A server process of `densedpo annotate`, and its address; killed at the end."""
    command = [sys.executable, "-m", "densedpo", "annotate", str(project.root), "--port", "0", "--tokens", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"labelling at (http://127\.0\.0\.1:\d+);", said)
            assert found, said
            yield found[1], server
        finally:
            server.kill()


def invite(project: Project, count: int) -> list[str]:
    """Invitation tokens of so many new annotators."""
    made = [people.add_person(project, f"annotator {number}", "annotator") for number in range(count)]
    return [people.invite(project, each.id) for each in made]


class Annotators:
    """Everybody who labels. They stay logged in, so they can go on after the server was restarted."""

    def __init__(self, address: str, cookies: Sequence[str] = ()) -> None:
        self.address = address
        self.cookies = list(cookies)
        self._browsers = {cookie: Browser(address) for cookie in cookies}
        self._tasks: dict[str, dict[str, Any] | None] = {}
        self._films: dict[str, str] = {}  # what a browser has fetched ahead

    async def join(self, tokens: Sequence[str]) -> None:
        """Log in, one after another."""
        for token in tokens:
            browser = Browser(self.address)
            response = await browser.request("POST", f"/join/{token}")
            assert response.status == 303, response.text
            cookie = response.headers["set-cookie"].split(";")[0]
            self.cookies.append(cookie)
            self._browsers[cookie] = browser

    async def begin(self) -> None:
        """Everybody opens the page and gets a pair, a few at a time, as people do not all arrive in one second."""
        few, log = asyncio.Semaphore(5), Log()

        async def one(cookie: str) -> None:
            async with few:
                self._tasks[cookie] = await self._next(cookie, None, log)

        await asyncio.gather(*(one(cookie) for cookie in self.cookies))
        assert not log.refused, log.refused

    async def label(self, seconds: float, interval: float, log: Log) -> None:
        """Everybody gives an answer every `interval` seconds for so long.

        They begin one after another during the time that a pair takes, or they would all hand it in at once.
        """
        draw, now = random.Random(7), time.monotonic()
        pair_takes = interval * max((len(task["questions"]) for task in self._tasks.values() if task), default=1)
        starts = [now + draw.random() * min(pair_takes, seconds / 4) for _ in self.cookies]
        pairs = zip(self.cookies, starts, strict=True)
        await asyncio.gather(*(self._work(cookie, start, start + seconds, interval, log) for cookie, start in pairs))

    async def close(self) -> None:
        """Everybody closes the page."""
        for browser in self._browsers.values():
            await browser.close()

    async def _work(self, cookie: str, due: float, end: float, interval: float, log: Log) -> None:
        """Do as the page does: take a pair, ask for one's progress, fetch the next pair's video, answer, hand in."""
        task = self._tasks.pop(cookie, None)
        open_questions = _open(task)
        with contextlib.suppress(*LOST):
            while due < end:
                while not open_questions:
                    task = await self._next(cookie, task, log)
                    if task is None:
                        return
                    open_questions = _open(task)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                log.late = max(log.late, time.monotonic() - due)
                assert task is not None
                await self._answer(cookie, task, open_questions.pop(0), log)
                due = max(due + interval, time.monotonic())

    async def _next(self, cookie: str, task: dict[str, Any] | None, log: Log) -> dict[str, Any] | None:
        if task is not None:
            await self._ask(cookie, "finish", "POST", f"/api/assignments/{task['id']}/finish", log)
        response = await self._ask(cookie, "next", "POST", "/api/next", log)
        found: dict[str, Any] | None = response.json() if response.status == 200 else None
        if found is not None:
            await self._ask(cookie, "progress", "GET", "/api/progress", log)
            await self._film(cookie, found["id"], log)
            ahead = await self._ask(cookie, "ahead", "GET", "/api/ahead", log)
            if ahead.status == 200 and ahead.json()["id"] is not None:
                await self._film(cookie, ahead.json()["id"], log, ahead=True)
        return found

    async def _film(self, cookie: str, id: str, log: Log, ahead: bool = False) -> None:
        """Fetch a pair's video unless that was done ahead; ahead, somebody else may have taken the pair meanwhile."""
        if self._films.get(cookie) == id:
            return
        fine = (404,) if ahead else ()
        response = await self._ask(cookie, "video", "GET", f"/media/{id}/pair", log, fine=fine)
        if response.status == 200:
            self._films[cookie] = id
            if response.body[4:8] != b"ftyp":
                log.refused["video: no MP4"] += 1

    async def _answer(self, cookie: str, task: dict[str, Any], question: Any, log: Log) -> None:
        segment, aspect = question
        choice = CHOICES[(segment or 0) % 3]
        body = {"assignment": task["id"], "segment": segment, "aspect": aspect, "choice": choice, "milliseconds": 1500}
        try:
            response = await self._ask(cookie, "answer", "POST", "/api/answers", log, body)
        except LOST:
            log.unanswered += 1
            raise
        if response.status == 200:
            log.acknowledged.append(response.json()["id"])

    async def _ask(
        self, cookie: str, kind: str, method: str, path: str, log: Log, body: Any = None, fine: Sequence[int] = ()
    ) -> Response:
        started = time.perf_counter()
        response = await self._browsers[cookie].request(method, path, cookie, body)
        log.took(kind, time.perf_counter() - started)
        if response.status >= 400 and response.status not in fine:
            log.refused[f"{kind} {response.status}: {response.text:.80}"] += 1
        return response


def _open(task: dict[str, Any] | None) -> list[Any]:
    """The questions of a pair that have no answer yet."""
    if task is None:
        return []
    answered = {(each["segment"], each["aspect"]) for each in task["answers"]}
    return [each for each in task["questions"] if tuple(each) not in answered]


@dataclass(frozen=True)
class Account:
    """The client's log against the database."""

    acknowledged: int
    stored: int
    lost: int
    twice: int
    unacknowledged: int

    @property
    def right(self) -> bool:
        return not self.lost and not self.twice


def account(root: Path, log: Log) -> Account:
    """Compare what was acknowledged with what is there, by a fresh look at the project."""
    labels = list(Project.open(root).labels(superseded=True))
    ids = {each.id for each in labels}
    questions = Counter((each.assignment, each.segment, each.aspect) for each in labels)
    return Account(
        acknowledged=len(log.acknowledged),
        stored=len(labels),
        lost=len(set(log.acknowledged) - ids),
        twice=sum(count - 1 for count in questions.values()) + len(log.acknowledged) - len(set(log.acknowledged)),
        unacknowledged=len(ids - set(log.acknowledged)),
    )
