"""How many people can label at once: 200 simulated annotators against a real server, on SQLite and on PostgreSQL.

    python benchmarks/annotate_load.py --database sqlite
    python benchmarks/annotate_load.py --database postgresql --seconds 60

Prints, as JSON lines: the load that was asked for (an answer every two seconds each), with the client's log checked
against the database; the highest rate of answers that is sustained with 99% of them under 150 ms; and what is there
after SIGKILL under that load. Exits with 1 if a label is lost or doubled, or if the asked load is over 150 ms.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
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
QUESTIONS = 4  # of a pair of 33 frames at 8 fps
OVERLAP = 2


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--interval", type=float, default=2, help="seconds between one person's answers")
    parser.add_argument("--skip", nargs="*", choices=["rates", "kill"], default=[])
    asked = parser.parse_args()
    with places(asked.database) as (folder, database):
        good = steady(folder / "steady", database, asked)
        if "rates" not in asked.skip:
            highest(folder / "rates", database, asked)
        if "kill" not in asked.skip:
            good &= killed(folder / "killed", database, asked)
    return 0 if good else 1


@contextlib.contextmanager
def places(database: str) -> Iterator[tuple[Path, "postgres_server.PostgresServer | None"]]:
    """A folder, and a PostgreSQL server that keeps its promises, if that is asked for."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        durable = postgres_server.running(durable=True)
        yield Path(name), stack.enter_context(durable) if database == "postgresql" else None


def project_for(root: Path, server: "postgres_server.PostgresServer | None", answers: float) -> Project:
    """Pairs enough for so many answers. All show the same two videos, which the server renders once."""
    pairs = int(1.5 * answers / QUESTIONS / OVERLAP) + 200
    settings = {"database": server.new_database()} if server else {}
    return make_project(root, pairs=pairs, **settings)


def steady(root: Path, server: Any, asked: argparse.Namespace) -> bool:
    """The load that was asked for; whether it holds."""
    project = project_for(root, server, asked.annotators * asked.seconds / asked.interval)
    log = asyncio.run(work(project, asked.annotators, asked.seconds, asked.interval))
    counted, answers = account(root, log), log.seconds.get("answer", [])
    good = counted.right and not log.refused and percentile(answers, 99) < LIMIT
    tell(
        f"load of {asked.annotators}",
        asked,
        log,
        holds=good,
        rate=round(len(answers) / asked.seconds, 1),
        **asdict(counted),
    )
    shutil.rmtree(root)
    return good


def highest(root: Path, server: Any, asked: argparse.Namespace) -> None:
    """More and more people, each time on a new project, until 99% of their answers are no longer in time."""
    best = 0.0
    for rate in RATES:
        annotators = round(rate * asked.interval)
        project = project_for(root / str(rate), server, rate * STEP_SECONDS)
        log = asyncio.run(work(project, annotators, STEP_SECONDS, asked.interval))
        answers = log.seconds.get("answer", [])
        reached = len(answers) / STEP_SECONDS
        counted = account(project.root, log)
        good = percentile(answers, 99) < LIMIT and reached > 0.9 * rate and counted.right and not log.refused
        tell(f"rate with {annotators}", asked, log, holds=good, rate=round(reached, 1), **asdict(counted))
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


async def work(project: Project, annotators: int, seconds: float, interval: float) -> Log:
    """Start a server and let people work on it."""
    log = Log()
    tokens = invite(project, annotators)
    with serving(project, "--overlap", str(OVERLAP)) as (address, _):
        everybody = Annotators(address)
        await everybody.join(tokens)
        await everybody.begin()
        await everybody.label(seconds, interval, log)
        await everybody.close()
    return log


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
        again = Annotators(address)
        again.cookies = everybody.cookies
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
    client = {"client_late_ms": round(1000 * log.late, 1), "refused": dict(log.refused)}
    print(json.dumps({**head, **more, "ms": times, **client, "busy": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
