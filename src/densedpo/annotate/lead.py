"""What only a lead may ask of the server: who works here, and links to let them in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from densedpo.annotate.session import Lead, TheLabelling
from densedpo.annotate.tasks import RefusedError
from densedpo.store import answers, assignments
from densedpo.store import people as store
from densedpo.store.assignments import done_by_person
from densedpo.store.people import Person, Role, State
from densedpo.store.project import Project

router = APIRouter(prefix="/api/people")


class PersonView(BaseModel):
    """Somebody who labels, and how many pairs they have handed in."""

    id: str
    name: str
    role: Role
    state: State
    invited: bool
    done: int


class NewPerson(BaseModel):
    """Whom to invite."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    role: Role


class Change(BaseModel):
    """The state to put somebody into."""

    model_config = ConfigDict(extra="forbid")

    state: State


class Labels(BaseModel):
    """Whether somebody's labels shall be set aside, or count again."""

    model_config = ConfigDict(extra="forbid")

    aside: bool


class Changed(BaseModel):
    """How many labels that concerns."""

    labels: int


class Invitation(BaseModel):
    """The path of a link; it is shown this once and cannot be looked up again."""

    person: str
    path: str


@router.get("")
def everybody(lead: Lead, labelling: TheLabelling) -> list[PersonView]:
    """Everybody, oldest first."""
    done = done_by_person(labelling.project)
    return [
        PersonView(
            id=each.id,
            name=each.name,
            role=each.role,
            state=each.state,
            invited=each.invited,
            done=done.get(each.id, 0),
        )
        for each in store.people(labelling.project)
    ]


@router.post("")
def add(new: NewPerson, lead: Lead, labelling: TheLabelling) -> Invitation:
    """Add somebody; the answer holds their invitation link."""
    _with_tokens(labelling.settings.tokens)
    person = store.add_person(labelling.project, new.name.replace("\0", "").strip() or "nameless", new.role)
    return _invitation(labelling.project, person.id)


@router.post("/{id}/invite")
def invite_again(id: str, lead: Lead, labelling: TheLabelling) -> Invitation:
    """A new link for somebody; the one before is void."""
    _with_tokens(labelling.settings.tokens)
    person = _found(labelling.project, id)
    if person.state == "retired":
        raise RefusedError(409, "this person has retired; let them work again first")
    return _invitation(labelling.project, id)


@router.post("/{id}/state")
def change(id: str, change: Change, lead: Lead, labelling: TheLabelling, request: Request) -> PersonView:
    """Pause or retire somebody, or let them go on."""
    if id == lead.id:
        raise RefusedError(409, "you cannot stop yourself")
    person = _found(labelling.project, id)
    if person.name == store.ERASED:
        raise RefusedError(409, "this person's data are erased; invite them anew")
    store.set_state(labelling.project, id, change.state)
    request.app.state.desk.forget()
    return next(each for each in everybody(lead, labelling) if each.id == id)


@router.post("/{id}/labels")
def labels(id: str, wish: Labels, lead: Lead, labelling: TheLabelling, request: Request) -> Changed:
    """Set the labels of somebody aside who is paused or retired, so that others get their pairs; or take them back."""
    person = _found(labelling.project, id)
    if wish.aside and person.state == "active":
        raise RefusedError(409, "pause or retire this person first, so that no label of theirs is on its way")
    if wish.aside:
        changed = answers.set_aside(labelling.project, id)
        assignments.free_slots(labelling.project, id)
    else:
        changed = answers.restore(labelling.project, id)
        assignments.take_back_slots(labelling.project, id)
    request.app.state.desk.forget()
    return Changed(labels=changed)


@router.post("/{id}/erase")
def erase(id: str, lead: Lead, labelling: TheLabelling, request: Request) -> PersonView:
    """Forget somebody's name for good, and retire them; their labels stay under a random id."""
    if id == lead.id:
        raise RefusedError(409, "you cannot erase yourself; ask another lead")
    _found(labelling.project, id)
    store.erase(labelling.project, id)
    request.app.state.desk.forget()
    return next(each for each in everybody(lead, labelling) if each.id == id)


def _invitation(project: Project, id: str) -> Invitation:
    return Invitation(person=id, path=f"/join/{store.invite(project, id)}")


def _with_tokens(tokens: bool) -> None:
    if not tokens:
        raise RefusedError(409, "this server serves one person without links; start it with --tokens to invite others")


def _found(project: Project, id: str) -> Person:
    person = store.find_person(project, id) if id.isalnum() else None  # a database may choke on the rest
    if person is None:
        raise RefusedError(404, "there is no such person")
    return person
