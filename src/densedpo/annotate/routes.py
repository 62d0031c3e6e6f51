"""What an annotator's page asks of the server."""

from __future__ import annotations

import statistics

from fastapi import APIRouter, BackgroundTasks
from pydantic import BaseModel
from starlette.responses import FileResponse, Response

from densedpo.annotate.labelling import Answer, AnswerView, RefusedError, Task
from densedpo.annotate.session import Member, TheLabelling, own_assignment
from densedpo.errors import UserError
from densedpo.store import assignments as store

router = APIRouter()


class ProgressView(BaseModel):
    """`seconds` is the median time of the person's latest pairs, `previous` the assignment they finished last."""

    done: int
    left: int
    seconds: float | None
    previous: str | None


@router.post("/api/next")
def next_task(person: Member, labelling: TheLabelling, afterwards: BackgroundTasks) -> Task | None:
    """The pair to label now: the one begun, or the next. The one after it is rendered meanwhile."""
    afterwards.add_task(labelling.prepare, person.id)
    return labelling.next_task(person.id)


@router.get("/api/assignments/{id}")
def read_task(id: str, person: Member, labelling: TheLabelling) -> Task:
    """One's own pair as it is stored now."""
    return labelling.task(own_assignment(labelling, id, person))


@router.post("/api/answers")
def save_answer(answer: Answer, person: Member, labelling: TheLabelling) -> AnswerView:
    """Save one answer; sending it again changes nothing."""
    return labelling.save(own_assignment(labelling, answer.assignment, person), answer)


@router.post("/api/assignments/{id}/finish", status_code=204, response_class=Response)
def finish(id: str, person: Member, labelling: TheLabelling) -> None:
    """Hand in a pair whose questions are all answered."""
    labelling.finish(own_assignment(labelling, id, person))


@router.post("/api/assignments/{id}/reopen")
def reopen(id: str, person: Member, labelling: TheLabelling) -> Task:
    """Take up a pair again that one has handed in."""
    assignment = own_assignment(labelling, id, person)
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
        left=found.left,
        seconds=statistics.median(found.seconds) if found.seconds else None,
        previous=store.latest_done(labelling.project, person.id),
    )


@router.get("/media/{id}/pair", response_class=FileResponse)
def pair_video(id: str, person: Member, labelling: TheLabelling) -> FileResponse:
    """The file that holds both sides of one's own pair."""
    assignment = own_assignment(labelling, id, person)
    return _video(labelling.media.of_pair(labelling.pair_of(assignment)))


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


def _video(path: object) -> FileResponse:
    return FileResponse(str(path), media_type="video/mp4", headers={"cache-control": "private, max-age=3600"})
