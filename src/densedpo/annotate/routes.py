"""What the pages of annotators and reviewers ask of the server."""

from __future__ import annotations

import hashlib
import statistics
from pathlib import Path

from fastapi import APIRouter, BackgroundTasks
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from densedpo.annotate import practice
from densedpo.annotate.labelling import Labelling
from densedpo.annotate.session import Member, Reviewer, TheLabelling, next_review_pair, own_assignment, own_pair
from densedpo.annotate.tasks import Answer, AnswerView, Feedback, RefusedError, Task
from densedpo.annotate.turns import MembersTurn
from densedpo.errors import UserError
from densedpo.store import assignments as store
from densedpo.store.assignments import Progress
from densedpo.store.people import Person
from densedpo.store.review import count_disputed
from densedpo.store.schema import Pair

router = APIRouter()


class ProgressView(BaseModel):
    """`seconds` is the median time of the person's latest pairs, `previous` the assignment they finished last."""

    done: int
    left: int
    seconds: float | None
    previous: str | None


class Ahead(BaseModel):
    """The assignment that comes next, unless somebody else takes its pair; None if there is none."""

    id: str | None


@router.post("/api/answers")
async def save_answer(answer: Answer, turn: MembersTurn) -> AnswerView:
    """Save one answer; sending it again changes nothing."""
    return await turn.write(
        lambda inside, person: inside.save(own_assignment(inside, answer.assignment, person), answer)
    )


@router.post("/api/next")
async def next_task(turn: MembersTurn, labelling: TheLabelling, later: BackgroundTasks) -> Task | None:
    """The pair to label now: the one begun, or the next."""
    while isinstance(found := await turn.write(Labelling.offer_task), Pair):
        await run_in_threadpool(labelling.handing_out.prepare, found)
    if labelling.handing_out.stale:
        later.add_task(labelling.handing_out.refresh)
    return found


@router.post("/api/review/next")
def next_review(person: Reviewer, labelling: TheLabelling) -> Task | None:
    """The pair to settle now: the one begun, or that with the greatest disagreement."""
    return labelling.next_task(person, review=True)


@router.get("/api/ahead")
async def ahead(turn: MembersTurn, labelling: TheLabelling) -> Ahead:
    """The pair after this one; its file is made, so that a page can fetch it ahead."""
    while found := await turn.look(lambda inside, person: inside.handing_out.ahead(person, review=False)):
        if labelling.handing_out.ready(found[1]):
            return Ahead(id=found[0])
        await run_in_threadpool(labelling.handing_out.prepare, found[1])
    return Ahead(id=None)


@router.get("/api/review/ahead")
def review_ahead(person: Reviewer, labelling: TheLabelling) -> Ahead:
    """The pair to settle after this one; as `ahead`."""
    hands = labelling.handing_out
    while found := hands.ahead(person, review=True):
        if hands.ready(found[1]):
            return Ahead(id=found[0])
        hands.prepare(found[1])
    return Ahead(id=None)


@router.get("/api/assignments/{id}")
async def read_task(id: str, turn: MembersTurn) -> Task:
    """One's own pair as it is stored now."""
    return await turn.look(lambda inside, person: inside.task(own_assignment(inside, id, person)))


@router.post("/api/assignments/{id}/finish")
async def finish(id: str, turn: MembersTurn) -> Feedback | None:
    """Hand in a pair whose questions are all answered. The right answers come back for practice pairs alone."""

    def hand_in(inside: Labelling, person: Person) -> Feedback | None:
        assignment = own_assignment(inside, id, person)
        inside.finish(assignment)
        return practice.handed_in(inside, assignment, person) if assignment.kind == "qualify" else None

    return await turn.write(hand_in)


@router.post("/api/assignments/{id}/reopen")
async def reopen(id: str, turn: MembersTurn) -> Task:
    """Take up a pair again that one has handed in."""

    def take_up(inside: Labelling, person: Person) -> Task:
        assignment = own_assignment(inside, id, person)
        if assignment.kind == "qualify" and assignment.state == "done":
            raise RefusedError(410, "this pair was for practice, and you have seen its answers")
        if assignment.state == "lapsed" or not (
            assignment.state == "open" or store.reopen(inside.project, id, inside.queue)
        ):
            raise RefusedError(410, "this pair is no longer yours")
        return inside.task(assignment)

    return await turn.write(take_up)


@router.get("/api/progress")
async def progress(turn: MembersTurn) -> ProgressView:
    """How far one is, and how fast."""

    def count(inside: Labelling, person: Person) -> ProgressView:
        work, checks = inside.handing_out.left(person)
        return _view(store.progress(inside.project, person.id, work), checks)

    return await turn.look(count)


@router.get("/api/review/progress")
def review_progress(person: Reviewer, labelling: TheLabelling) -> ProgressView:
    """How many pairs one has settled, and how many wait for it."""
    wait = count_disputed(labelling.project, labelling.queue, person.id)
    return _view(store.progress(labelling.project, person.id, wait, review=True), 0)


def _view(found: Progress, checks: int) -> ProgressView:
    return ProgressView(
        done=found.done,
        left=found.left + checks,
        seconds=statistics.median(found.seconds) if found.seconds else None,
        previous=found.previous,
    )


@router.get("/media/{id}/pair", response_class=FileResponse)
async def pair_video(id: str, turn: MembersTurn, labelling: TheLabelling) -> FileResponse:
    """The file that holds both sides of one's own pair."""
    found = await turn.look(lambda inside, person: own_pair(inside, id, person))
    if isinstance(found, Person):  # who reviews, too: to find the pair that comes next much is read
        found = await run_in_threadpool(next_review_pair, labelling, id, found)
    if not labelling.handing_out.ready(found):
        await run_in_threadpool(labelling.media.seen, found)
    return _video(labelling.media.of_pair(found))


@router.get("/media/{id}/real", response_class=FileResponse)
def real_video(id: str, person: Member, labelling: TheLabelling) -> FileResponse:
    """The file with the real clip behind one's own pair, if the lead shows it."""
    clip = labelling.real_clip(own_assignment(labelling, id, person))
    if clip is None:
        raise RefusedError(404, "there is no real clip to show")
    try:
        return _video(labelling.media.of_clip(clip))
    except UserError:
        raise RefusedError(404, "the real clip cannot be shown") from None


def _video(path: Path) -> FileResponse:
    """The file, under headers that do not tell when it was made: what is shown to many is made before the rest."""
    found = path.stat()
    digest = hashlib.sha256(f"{path.name}:{found.st_size}".encode()).hexdigest()[:32]
    headers = {
        "cache-control": "private, max-age=3600",
        "etag": f'"{digest}"',
        "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    }
    return _Film(path, media_type="video/mp4", headers=headers, stat_result=found)


class _Film(FileResponse):
    """Read in few parts: each is a trip to another thread."""

    chunk_size = 1 << 20
