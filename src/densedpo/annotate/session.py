"""Who is asking: the login cookie, and what each role may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from densedpo.annotate.labelling import Labelling
from densedpo.annotate.settings import AnnotateSettings
from densedpo.annotate.tasks import RefusedError
from densedpo.store import people as store
from densedpo.store.assignments import Assignment, find_assignment
from densedpo.store.people import Person
from densedpo.store.project import Project
from densedpo.store.schema import Pair

COOKIE = "densedpo_login"
NOT_YOURS = "there is no such pair in your queue"
ALONE = "local"  # the name of whoever works on a server without tokens


async def labelling_of(request: Request) -> Labelling:
    """The application's one `Labelling`."""
    labelling: Labelling = request.app.state.labelling
    return labelling


def login_of(request: Request) -> str:
    """The login token that the request carries, if any."""
    return request.cookies.get(COOKIE, "")


def find_person(project: Project, token: str) -> Person | None:
    """Whose login that is."""
    return store.logged_in(project, token) if token else None


def whoever(request: Request) -> Person | None:
    """The person whose login the request carries; without tokens, the one who works here alone."""
    alone: Person | None = request.app.state.alone
    return alone or find_person(request.app.state.labelling.project, login_of(request))


def admitted(person: Person | None) -> Person:
    """Somebody known who may work now; else RefusedError."""
    if person is None:
        raise RefusedError(401, "open your invitation link to get in")
    if person.state != "active":
        raise RefusedError(403, "your lead has paused your work; ask them when it goes on")
    return person


async def member(person: Annotated[Person | None, Depends(whoever)]) -> Person:
    """As `admitted`."""
    return admitted(person)


async def reviewer(person: Annotated[Person, Depends(member)]) -> Person:
    """A reviewer or a lead; else RefusedError."""
    if person.role == "annotator":
        raise RefusedError(403, "only a reviewer may do this")
    return person


async def lead(person: Annotated[Person, Depends(member)]) -> Person:
    """A lead; else RefusedError."""
    if person.role != "lead":
        raise RefusedError(403, "only a lead may do this")
    return person


Somebody = Annotated[Person | None, Depends(whoever)]
Member = Annotated[Person, Depends(member)]
Reviewer = Annotated[Person, Depends(reviewer)]
Lead = Annotated[Person, Depends(lead)]
TheLabelling = Annotated[Labelling, Depends(labelling_of)]


def own_assignment(labelling: Labelling, id: str, person: Person) -> Assignment:
    """The person's assignment with this id. Another's is refused in the same words as one that does not exist."""
    assignment = find_assignment(labelling.project, id) if id.isalnum() else None  # a database may choke on the rest
    if assignment is None or assignment.person != person.id:
        raise RefusedError(404, NOT_YOURS)
    return assignment


def own_pair(labelling: Labelling, id: str, person: Person) -> Pair | Person:
    """The pair of the person's assignment, or of the one that they are likely to get next; else as `own_assignment`.

    For a reviewer's next review the person comes back: look at `next_review_pair`.
    """
    if not id.isalnum() or find_assignment(labelling.project, id) is not None:
        return labelling.pair_of(own_assignment(labelling, id, person))
    ahead = labelling.handing_out.ahead(person, review=False)
    if ahead and ahead[0] == id:
        return ahead[1]
    if person.role == "annotator":
        raise RefusedError(404, NOT_YOURS)
    return person


def next_review_pair(labelling: Labelling, id: str, reviewer: Person) -> Pair:
    """The pair that a reviewer is likely to get next, if that is the id of its assignment; else RefusedError."""
    ahead = labelling.handing_out.ahead(reviewer, review=True)
    if ahead is None or ahead[0] != id:
        raise RefusedError(404, NOT_YOURS)
    return ahead[1]


def set_login(request: Request, response: Response, token: str) -> None:
    """Hand a login token to the browser: scripts cannot read it, other sites cannot make the browser send it."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=store.LOGIN_DAYS * 86400,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def person_alone(project: Project) -> Person:
    """Who works on a server without tokens: a lead by the name of `local`, made when first needed."""
    known = [each for each in store.people(project) if (each.name, each.role) == (ALONE, "lead")]
    return known[0] if known else store.add_person(project, ALONE, "lead")


def lead_link(project: Project, settings: AnnotateSettings) -> str | None:
    """A new invitation, as a path, for the oldest lead, who is made if there is none; None without tokens."""
    if not settings.tokens:
        return None
    leads = [each for each in store.people(project) if each.role == "lead" and each.state == "active"]
    chosen = leads[0] if leads else store.add_person(project, "lead", "lead")
    return f"/join/{store.invite(project, chosen.id)}"
