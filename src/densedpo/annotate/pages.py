"""The pages: labelling, review, guideline, dashboard, people, and the door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from densedpo.annotate.labelling import Labelling
from densedpo.annotate.session import COOKIE, Lead, Member, Reviewer, Somebody, TheLabelling, set_login
from densedpo.annotate.tasks import RefusedError
from densedpo.store import people as store
from densedpo.store.people import Person

HERE = Path(__file__).parent
REASONS = (  # for "can't tell"; the one chosen becomes the label's comment
    "I do not understand the prompt",
    "It is too short or too small to judge",
    "The video does not play properly",
    "Something else",
)

router = APIRouter(default_response_class=HTMLResponse)
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered template."""
    return HTMLResponse(_templates.get_template(template).render(**values), status_code=status)


@router.get("/")
def label(person: Somebody, labelling: TheLabelling, request: Request) -> HTMLResponse:
    """Where one labels; for strangers, the door."""
    if person is None:
        return page("door.html", 401, title="You need an invitation", name=None)
    if person.state != "active":
        return page("door.html", 403, title="Your work is paused", name=person.name)
    return _page("label.html", person, request, review=False, reasons=REASONS)


@router.get("/review")
def review(person: Reviewer, request: Request) -> HTMLResponse:
    """Where a reviewer settles what others see differently."""
    return _page("label.html", person, request, review=True, reasons=REASONS)


@router.get("/guideline")
def guideline(person: Member, request: Request) -> HTMLResponse:
    """What to look for, in the lead's words."""
    return _page("guideline.html", person, request)


@router.get("/guideline/{number}", response_class=FileResponse)
def guideline_file(number: int, person: Member, request: Request) -> FileResponse:
    """A picture or video that the guideline shows."""
    files = request.app.state.guideline.files
    if not 0 <= number < len(files):
        raise RefusedError(404, "the guideline shows no such file")
    return FileResponse(files[number])


@router.get("/lead")
def lead(person: Lead, request: Request) -> HTMLResponse:
    """How the work goes."""
    return _page("lead.html", person, request)


@router.get("/people")
def people(person: Lead, request: Request) -> HTMLResponse:
    """Where a lead invites people."""
    return _page("people.html", person, request)


def _page(template: str, person: Person, request: Request, **values: Any) -> HTMLResponse:
    """A page for somebody who is in."""
    labelling: Labelling = request.app.state.labelling
    return page(
        template,
        project=labelling.project.root.resolve().name,
        person=person,
        tokens=labelling.settings.tokens,
        guideline=Markup(request.app.state.guideline.html),  # safe: made by read_guideline
        here=request.url.path,
        **values,
    )


@router.get("/join/{token}")
def invitation(token: str, labelling: TheLabelling) -> HTMLResponse:
    """What an invitation link shows. Looking at it (a chat's preview does) changes nothing."""
    person = store.invited(labelling.project, token)
    if person is None:
        return page("door.html", 404, title="This invitation is not valid", name=None)
    return page("join.html", person=person, project=labelling.project.root.resolve().name)


@router.post("/join/{token}")
def join(token: str, request: Request, labelling: TheLabelling) -> Response:
    """Log in by an invitation."""
    person = store.invited(labelling.project, token)
    if person is None:
        return page("door.html", 404, title="This invitation is not valid", name=None)
    to_read = labelling.settings.guideline is not None
    response = RedirectResponse("/guideline" if to_read else "/", status_code=303)
    set_login(request, response, store.log_in(labelling.project, person.id))
    return response


@router.post("/leave")
def leave(request: Request, labelling: TheLabelling) -> Response:
    """Log out."""
    store.log_out(labelling.project, request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
