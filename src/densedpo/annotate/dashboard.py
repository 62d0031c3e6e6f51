"""What a lead sees of the work: how far it is, how fast, how good; and the buttons that go with it."""

from __future__ import annotations

import datetime
import statistics
import threading
import time
from collections import Counter

from fastapi import APIRouter, Request
from pydantic import BaseModel

from densedpo.annotate.figures import Alpha, PersonFigures, alphas, labels_by_hour, of_people
from densedpo.annotate.labelling import Labelling
from densedpo.annotate.session import Lead, TheLabelling
from densedpo.store.answers import Opinion
from densedpo.store.gold import add_gold, gold_of
from densedpo.store.overview import Overview, overview
from densedpo.store.review import count_disputed, settled_gold

FRESH_SECONDS = 3.0  # a dashboard that several leads look at is worked out once in so long, and in 5 times its cost
ACTIVE_SECONDS = 900.0  # who answered within these is at work

router = APIRouter()


class Progress(BaseModel):
    """Pairs, and the places in them: each pair is labelled by several people. `hours_left` are hours of one person's
    work; `hours_at_this_pace` is the time until the end if all goes on as in the latest hour."""

    pairs: int
    complete: int
    begun: int
    places: int
    done: int
    hours_left: float | None
    hours_at_this_pace: float | None
    disputed: int
    settled: int
    gold: int
    new_gold: int


class Pace(BaseModel):
    """Labels in each of the latest 24 hours, oldest first; pairs in the latest one; who is at work; seconds a pair."""

    labels: list[int]
    pairs: int
    active: int
    seconds: float | None


class Dashboard(BaseModel):
    """All of it."""

    progress: Progress
    pace: Pace
    agreement: list[Alpha]
    people: list[PersonFigures]


class Desk:
    """Works the dashboard out, and keeps it for a moment. Safe to share between threads."""

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._guard = threading.Lock()
        self._latest: tuple[float, Dashboard] | None = None

    def look(self) -> Dashboard:
        """The dashboard as it is now, or was a few seconds ago."""
        with self._guard:
            if self._latest is None or time.monotonic() > self._latest[0]:
                begun = time.monotonic()
                board = self._work_out()
                spent = time.monotonic() - begun
                self._latest = time.monotonic() + max(FRESH_SECONDS, 5 * spent), board
            return self._latest[1]

    def forget(self) -> None:
        """Work it out anew when somebody looks next."""
        with self._guard:
            self._latest = None

    def _work_out(self) -> Dashboard:
        project, queue = self._labelling.project, self._labelling.queue
        found, now = overview(project, queue), datetime.datetime.now(datetime.UTC)
        known = {row.id for row in gold_of(project)}
        new_gold = len({row.pair for row in settled_gold(project) if row.id not in known})
        pace = _pace(found, now)
        disputed = count_disputed(project, queue)
        return Dashboard(
            progress=_progress(found, queue.overlap, pace, disputed, new_gold),
            pace=pace,
            agreement=alphas(found.opinions),
            people=of_people(found),
        )


@router.get("/api/dashboard")
def dashboard(lead: Lead, request: Request) -> Dashboard:
    """Progress, pace, agreement, and everybody's figures."""
    desk: Desk = request.app.state.desk
    return desk.look()


class Taken(BaseModel):
    """How many right answers are new."""

    answers: int


@router.post("/api/gold/settled")
def take_settled(lead: Lead, labelling: TheLabelling, request: Request) -> Taken:
    """Let what reviewers have settled be gold: right answers by which others are measured."""
    known = {row.id for row in gold_of(labelling.project)}
    added = add_gold(labelling.project, (row for row in settled_gold(labelling.project) if row.id not in known))
    labelling.project.record("gold-from-review", answers=added, lead=lead.id)
    request.app.state.desk.forget()
    return Taken(answers=added)


def _progress(found: Overview, overlap: int, pace: Pace, disputed: int, new_gold: int) -> Progress:
    gold = {pair for pair, *_ in found.gold}
    held = [each for each in found.assignments if each.kind == "work" and each.state != "lapsed"]
    held = [each for each in held if each.pair not in gold]
    done = Counter(each.pair for each in held if each.state == "done")
    places, count = found.pairs * overlap, sum(min(overlap, each) for each in done.values())
    left = max(0, places - count)
    return Progress(
        pairs=found.pairs,
        complete=sum(each >= overlap for each in done.values()),
        begun=len({each.pair for each in held}),
        places=places,
        done=count,
        hours_left=left * pace.seconds / 3600 if pace.seconds else None,
        hours_at_this_pace=left / pace.pairs if pace.pairs else None,
        disputed=disputed,
        settled=len({each.pair for each in found.assignments if (each.kind, each.state) == ("review", "done")}),
        gold=len(gold),
        new_gold=new_gold,
    )


def _pace(found: Overview, now: datetime.datetime) -> Pace:
    said = [each for each in found.opinions if each.kind != "review"]
    work = [each for each in found.assignments if each.kind == "work" and each.finished]
    seconds = _seconds_by_assignment(said)
    times = [seconds[each.id] for each in work if seconds.get(each.id)]
    return Pace(
        labels=labels_by_hour(said, now),
        pairs=sum(_ago(each.finished or "", now) < 3600 for each in work),
        active=len({each.annotator for each in said if _ago(each.created, now) < ACTIVE_SECONDS}),
        seconds=statistics.median(times) if times else None,
    )


def _seconds_by_assignment(said: list[Opinion]) -> dict[str, float]:
    """Assignment id → the time spent on its answers, pauses left out."""
    seconds: Counter[str] = Counter()
    for each in said:
        seconds[each.assignment] += each.milliseconds
    return {id: total / 1000 for id, total in seconds.items()}


def _ago(moment: str, now: datetime.datetime) -> float:
    return (now - datetime.datetime.fromisoformat(moment)).total_seconds()
