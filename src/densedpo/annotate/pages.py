"""The pages: labelling, people, and the door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from densedpo.annotate.session import COOKIE, Lead, Somebody, TheLabelling, set_login
from densedpo.store import people as store

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
def label(person: Somebody, labelling: TheLabelling) -> HTMLResponse:
    """Where one labels; for strangers, the door."""
    if person is None:
        return page("door.html", 401, title="You need an invitation", name=None)
    if person.state != "active":
        return page("door.html", 403, title="Your work is paused", name=person.name)
    settings = labelling.settings
    name = labelling.project.root.resolve().name
    return page("label.html", project=name, person=person, tokens=settings.tokens, reasons=REASONS)


@router.get("/people")
def people(person: Lead, labelling: TheLabelling) -> HTMLResponse:
    """Where a lead invites people."""
    name = labelling.project.root.resolve().name
    return page("people.html", project=name, person=person, tokens=labelling.settings.tokens)


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
    response = RedirectResponse("/", status_code=303)
    set_login(request, response, store.log_in(labelling.project, person.id))
    return response


@router.post("/leave")
def leave(request: Request, labelling: TheLabelling) -> Response:
    """Log out."""
    store.log_out(labelling.project, request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
