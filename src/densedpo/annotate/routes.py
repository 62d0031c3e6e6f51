"""What the pages of annotators and reviewers ask of the server."""

from __future__ import annotations

import hashlib
import statistics
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import FileResponse

from densedpo.annotate import practice
from densedpo.annotate.labelling import Labelling
from densedpo.annotate.session import Member, Reviewer, TheLabelling, own_assignment, own_pair
from densedpo.annotate.tasks import Answer, AnswerView, Feedback, RefusedError, Task
from densedpo.errors import UserError
from densedpo.store import assignments as store
from densedpo.store.people import Person
from densedpo.store.review import count_disputed

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


@router.post("/api/next")
def next_task(person: Member, labelling: TheLabelling) -> Task | None:
    """The pair to label now: the one begun, or the next."""
    return labelling.next_task(person)


@router.post("/api/review/next")
def next_review(person: Reviewer, labelling: TheLabelling) -> Task | None:
    """The pair to settle now: the one begun, or that with the greatest disagreement."""
    return labelling.next_task(person, review=True)


@router.get("/api/ahead")
def ahead(person: Member, labelling: TheLabelling) -> Ahead:
    """The pair after this one; its file is made, so that a page can fetch it ahead."""
    return _ahead(labelling, person, review=False)


@router.get("/api/review/ahead")
def review_ahead(person: Reviewer, labelling: TheLabelling) -> Ahead:
    """The pair to settle after this one; as `ahead`."""
    return _ahead(labelling, person, review=True)


def _ahead(labelling: Labelling, person: Person, review: bool) -> Ahead:
    found = labelling.handing_out.ahead(person, review)
    return Ahead(id=found[0] if found else None)


@router.get("/api/assignments/{id}")
def read_task(id: str, person: Member, labelling: TheLabelling) -> Task:
    """One's own pair as it is stored now."""
    return labelling.task(own_assignment(labelling, id, person))


@router.post("/api/answers")
def save_answer(answer: Answer, person: Member, labelling: TheLabelling) -> AnswerView:
    """Save one answer; sending it again changes nothing."""
    return labelling.save(own_assignment(labelling, answer.assignment, person), answer)


@router.post("/api/assignments/{id}/finish")
def finish(id: str, person: Member, labelling: TheLabelling) -> Feedback | None:
    """Hand in a pair whose questions are all answered. The right answers come back for practice pairs alone."""
    assignment = own_assignment(labelling, id, person)
    labelling.finish(assignment)
    return practice.handed_in(labelling, assignment, person) if assignment.kind == "qualify" else None


@router.post("/api/assignments/{id}/reopen")
def reopen(id: str, person: Member, labelling: TheLabelling) -> Task:
    """Take up a pair again that one has handed in."""
    assignment = own_assignment(labelling, id, person)
    if assignment.kind == "qualify" and assignment.state == "done":
        raise RefusedError(410, "this pair was for practice, and you have seen its answers")
    if assignment.state == "lapsed" or not (
        assignment.state == "open" or store.reopen(labelling.project, id, labelling.queue)
    ):
        raise RefusedError(410, "this pair is no longer yours")
    return labelling.task(assignment)


@router.get("/api/progress")
def progress(person: Member, labelling: TheLabelling) -> ProgressView:
    """How far one is, and how fast."""
    found = store.progress(labelling.project, person.id, labelling.queue)
    return ProgressView(
        done=found.done,
        left=found.left + labelling.handing_out.checks_ahead(person, found.left - found.open),
        seconds=statistics.median(found.seconds) if found.seconds else None,
        previous=store.latest_done(labelling.project, person.id),
    )


@router.get("/api/review/progress")
def review_progress(person: Reviewer, labelling: TheLabelling) -> ProgressView:
    """How many pairs one has settled, and how many wait for it."""
    found = store.progress(labelling.project, person.id, labelling.queue, review=True)
    return ProgressView(
        done=found.done,
        left=found.open + count_disputed(labelling.project, labelling.queue, person.id),
        seconds=statistics.median(found.seconds) if found.seconds else None,
        previous=store.latest_done(labelling.project, person.id, review=True),
    )


@router.get("/media/{id}/pair", response_class=FileResponse)
def pair_video(id: str, person: Member, labelling: TheLabelling) -> FileResponse:
    """The file that holds both sides of one's own pair."""
    return _video(labelling.media.of_pair(own_pair(labelling, id, person)))


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
    digest = hashlib.sha256(f"{path.name}:{path.stat().st_size}".encode()).hexdigest()[:32]
    headers = {
        "cache-control": "private, max-age=3600",
        "etag": f'"{digest}"',
        "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT",
    }
    return FileResponse(path, media_type="video/mp4", headers=headers)
