"""How many people can label at once: 200 simulated annotators against a real server, on SQLite and on PostgreSQL.

    python benchmarks/annotate_load.py --database sqlite
    python benchmarks/annotate_load.py --database postgresql --seconds 60

Prints, as JSON lines: the load that was asked for (an answer every two seconds each), with the client's log checked
against the database; the highest rate of answers that is sustained with 99% of them under 150 ms; and what is there
after SIGKILL under that load. Each line has the milliseconds of every kind of request, and the share of one core that
the server, the simulated people, and PostgreSQL took. Ends with PASS or FAIL against the bound: nothing lost or
doubled, 99% of the answers within 150 ms, and at least 97% of the rate asked for; exits with 1 for FAIL.

The simulated people share the machine with the server: `late_ms` tells by how much one of them came too late, at worst.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "annotate")]

from annotate_projects import make_project  # noqa: E402
from load_clients import Annotators, Log, account, invite, percentile, serving  # noqa: E402

import postgres_server  # noqa: E402
from densedpo.store.project import Project  # noqa: E402

LIMIT = 0.150
STEP_SECONDS = 16
RATES = (25, 50, 75, 100, 125, 150, 200, 250, 300, 400)  # answers a second
FRAMES, QUESTIONS = 40, 5  # 5 s at 8 frames a second
OVERLAP = 2
PAIRS = 2000  # at least


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--interval", type=float, default=2, help="seconds between one person's answers")
    parser.add_argument("--skip", nargs="*", choices=["steady", "rates", "kill"], default=[])
    asked = parser.parse_args()
    with places(asked.database) as (folder, database):
        found = {}
        if "steady" not in asked.skip:
            found["load"] = steady(folder / "steady", database, asked)
        if "rates" not in asked.skip:
            highest(folder / "rates", database, asked)
        if "kill" not in asked.skip:
            found["kill"] = killed(folder / "killed", database, asked)
    verdict = {what: "PASS" if good else "FAIL" for what, good in found.items()}
    print(json.dumps({"database": asked.database, "bound_ms": 1000 * LIMIT, **verdict}), flush=True)
    return 0 if all(found.values()) else 1


@contextlib.contextmanager
def places(database: str) -> Iterator[tuple[Path, "postgres_server.PostgresServer | None"]]:
    """A folder, and a PostgreSQL server that keeps its promises, if that is asked for."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        durable = postgres_server.running(durable=True)
        yield Path(name), stack.enter_context(durable) if database == "postgresql" else None


def project_for(root: Path, server: "postgres_server.PostgresServer | None", answers: float) -> Project:
    """Pairs enough for so many answers. All show the same two videos, which the server renders once."""
    pairs = max(PAIRS, int(1.5 * answers / QUESTIONS / OVERLAP) + 200)
    settings = {"database": server.new_database()} if server else {}
    return make_project(root, pairs=pairs, frames=FRAMES, **settings)


class Shares:
    """The share of one core that each side takes while somebody works."""

    def __init__(self, server: "subprocess.Popen[str]", database: "postgres_server.PostgresServer | None") -> None:
        self._clocks: dict[str, Callable[[], float]] = {"clients": time.process_time}
        self._clocks["server"] = lambda: cpu_seconds(server.pid)
        if database:
            postmaster = int((database.folder / "data" / "postmaster.pid").read_text().split()[0])
            self._clocks["postgresql"] = lambda: cpu_seconds(postmaster)
        self._began = self._now()

    def _now(self) -> dict[str, float]:
        return {"wall": time.monotonic(), **{who: clock() for who, clock in self._clocks.items()}}

    def taken(self, log: Log) -> dict[str, dict[str, float]]:
        """The share of one core, and the milliseconds of it for each request."""
        now = self._now()
        spent = {who: now[who] - self._began[who] for who in now}
        requests, wall = sum(map(len, log.seconds.values())), spent.pop("wall")
        return {
            "cores": {who: round(seconds / wall, 3) for who, seconds in spent.items()},
            "cpu_ms_per_request": {who: round(1000 * seconds / requests, 3) for who, seconds in spent.items()},
        }


def cpu_seconds(process: int) -> float:
    """What a process, its children of now and those that ended have used."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(file.parent.name) == process:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == process:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def steady(root: Path, server: Any, asked: argparse.Namespace) -> bool:
    """The load that was asked for; whether it holds."""
    project = project_for(root, server, asked.annotators * asked.seconds / asked.interval)
    log, shares = asyncio.run(work(project, server, asked.annotators, asked.seconds, asked.interval))
    counted, reached = account(root, log), len(log.acknowledged) / asked.seconds
    good = holds(log, counted.right, reached, asked.annotators / asked.interval)
    tell(f"load of {asked.annotators}", asked, log, holds=good, rate=round(reached, 1), **shares, **asdict(counted))
    shutil.rmtree(root)
    return good


def holds(log: Log, right: bool, reached: float, rate: float) -> bool:
    """Whether what was measured is within the bound."""
    return right and not log.refused and percentile(log.seconds["answer"], 99) < LIMIT and reached > 0.97 * rate


def highest(root: Path, server: Any, asked: argparse.Namespace) -> None:
    """More and more people, each time on a new project, until 99% of their answers are no longer in time."""
    best = 0.0
    for rate in RATES:
        project = project_for(root / str(rate), server, rate * STEP_SECONDS)
        people = round(rate * asked.interval)
        log, shares = asyncio.run(work(project, server, people, STEP_SECONDS, asked.interval))
        counted, reached = account(project.root, log), len(log.acknowledged) / STEP_SECONDS
        good = holds(log, counted.right, reached, rate)
        tell(f"rate with {people}", asked, log, holds=good, rate=round(reached, 1), **shares, **asdict(counted))
        if not good:
            break
        best = reached
    print(json.dumps({"what": "highest sustained rate", "database": asked.database, "answers_per_second": best}))


def killed(root: Path, server: Any, asked: argparse.Namespace) -> bool:
    """SIGKILL in the middle of the load, then a restart on which everybody goes on; whether nothing is missing."""
    seconds = min(10.0, asked.seconds)
    project = project_for(root, server, 2 * asked.annotators * seconds / asked.interval)
    log = asyncio.run(work_through_a_kill(project, asked.annotators, seconds, asked.interval))
    counted = account(root, log)
    tell("kill", asked, log, holds=counted.right, unanswered=log.unanswered, **asdict(counted))
    return counted.right


async def work(
    project: Project, database: Any, annotators: int, seconds: float, interval: float
) -> tuple[Log, dict[str, dict[str, float]]]:
    """Start a server and let people work on it; their log, and what each side took of a core."""
    log = Log()
    tokens = invite(project, annotators)
    with serving(project, "--overlap", str(OVERLAP)) as (address, server):
        everybody = Annotators(address)
        await everybody.join(tokens)
        await everybody.begin()
        shares = Shares(server, database)
        await everybody.label(seconds, interval, log)
        taken = shares.taken(log)
        await everybody.close()
    return log, taken


async def work_through_a_kill(project: Project, annotators: int, seconds: float, interval: float) -> Log:
    """Work for so long, with the server killed half-way, and then again on a new one."""
    log = Log()
    tokens = invite(project, annotators)
    with serving(project, "--overlap", str(OVERLAP)) as (address, server):
        everybody = Annotators(address)
        await everybody.join(tokens)
        await everybody.begin()
        working = asyncio.create_task(everybody.label(seconds, interval, log))
        await asyncio.sleep(seconds / 2)
        server.kill()
        await working
        await everybody.close()
    with serving(project, "--overlap", str(OVERLAP)) as (address, _):
        again = Annotators(address, everybody.cookies)
        await again.begin()
        await again.label(seconds / 2, interval, log)
        await again.close()
    return log


def tell(what: str, asked: argparse.Namespace, log: Log, **more: Any) -> None:
    """One line of JSON: milliseconds of each kind of request, and more."""
    times = {
        kind: {f"p{percent}": round(1000 * percentile(values, percent), 1) for percent in (50, 99, 100)}
        for kind, values in log.seconds.items()
    }
    head = {"what": what, "database": asked.database}
    client = {"late_ms": round(1000 * log.late, 1), "refused": dict(log.refused)}
    print(json.dumps({**head, **more, "ms": times, **client, "busy": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
