"""People at work, simulated: a real server process, real HTTP, and a log of all that the server acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from densedpo.store import people
from densedpo.store.project import Project

CHOICES = ("left", "right", "tie")
LOST = (httpx2.TransportError,)  # the server is gone, or the answer never came


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

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies: list[str] = []
        self._tasks: dict[str, dict[str, Any] | None] = {}
        self._client = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=1000, keepalive_expiry=60),
            timeout=60,
            trust_env=False,
        )

    async def join(self, tokens: Sequence[str]) -> None:
        """Log in, one after another."""
        for token in tokens:
            response = await self._client.post(f"{self.address}/join/{token}", headers={"origin": self.address})
            assert response.status_code == 303, response.text
            self.cookies.append(response.headers["set-cookie"].split(";")[0])
        self._client.cookies.clear()

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
        await self._client.aclose()

    async def _work(self, cookie: str, due: float, end: float, interval: float, log: Log) -> None:
        """Follow the page: take a pair, look at its video and one's progress, answer its questions, hand it in."""
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
        found: dict[str, Any] | None = response.json() if response.status_code == 200 else None
        if found is not None:
            await self._ask(cookie, "video", "GET", f"/media/{found['id']}/pair", log)
            await self._ask(cookie, "progress", "GET", "/api/progress", log)
        return found

    async def _answer(self, cookie: str, task: dict[str, Any], question: Any, log: Log) -> None:
        segment, aspect = question
        choice = CHOICES[(segment or 0) % 3]
        body = {"assignment": task["id"], "segment": segment, "aspect": aspect, "choice": choice, "milliseconds": 1500}
        try:
            response = await self._ask(cookie, "answer", "POST", "/api/answers", log, json=body)
        except LOST:
            log.unanswered += 1
            raise
        if response.status_code == 200:
            log.acknowledged.append(response.json()["id"])

    async def _ask(self, cookie: str, kind: str, method: str, path: str, log: Log, **body: Any) -> httpx2.Response:
        headers = {"cookie": cookie, "origin": self.address}
        started = time.perf_counter()
        response = await self._client.request(method, self.address + path, headers=headers, **body)
        log.took(kind, time.perf_counter() - started)
        if response.status_code >= 400:
            log.refused[f"{kind} {response.status_code}: {response.text:.80}"] += 1
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
