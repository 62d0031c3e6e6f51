"""People who label: who they are, how they get in, what they may do.

Tokens are 256 random bits, given out once; the database holds their SHA-256 only. `Person.id` is a random pseudonym and
is what labels carry, so a name can be forgotten without touching a label.
"""

import contextlib
import datetime
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from densedpo.store import database as db
from densedpo.store.project import Project
from densedpo.store.schema import utc_now
from densedpo.store.tables import login, person

Role = Literal["annotator", "reviewer", "lead"]
State = Literal["active", "paused", "retired"]

ERASED = "(erased)"  # the name of somebody whose personal data is gone
INVITE_DAYS = 30
LOGIN_DAYS = 30

_LOGGED_IN = (
    sa.select(person)
    .join(login, login.c.person == person.c.id)
    .where(login.c.id == sa.bindparam("digest"), login.c.until > sa.bindparam("now"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who labels. `invited` tells whether an invitation link of theirs can be used now."""

    id: str
    name: str
    role: Role
    state: State
    invited: bool
    created: str


def add_person(project: Project, name: str, role: Role) -> Person:
    """A new, active person with a random id."""
    row = {"id": secrets.token_hex(8), "name": name, "role": role, "state": "active", "created": utc_now()}
    with writing(project, "person") as connection:
        connection.execute(sa.insert(person).values(**row))
    project.record("person", person=row["id"], role=role)
    return _person(row | {"invite": None, "invite_until": None})


def people(project: Project) -> list[Person]:
    """Everybody, oldest first."""
    with reading(project) as connection:
        rows = connection.execute(sa.select(person).order_by(person.c.created, person.c.id)).mappings()
        return [_person(row) for row in rows]


def find_person(project: Project, id: str) -> Person | None:
    """The person with this id."""
    return _find(project, person.c.id == id)


def set_state(project: Project, id: str, state: State) -> None:
    """Let a person work (active), stop for now (paused) or for good (retired: their links and logins end)."""
    with writing(project, "person") as connection:
        connection.execute(sa.update(person).where(person.c.id == id).values(state=state))
        if state == "retired":
            connection.execute(sa.update(person).where(person.c.id == id).values(invite=None, invite_until=None))
            connection.execute(sa.delete(login).where(login.c.person == id))
    project.record("person-state", person=id, state=state)


def erase(project: Project, id: str) -> None:
    """Forget a person's name, and end their links and logins for good. Their labels stay under the random id."""
    set_state(project, id, "retired")
    with writing(project, "person") as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete=ON")  # overwrite the name in the file, too
        connection.execute(sa.update(person).where(person.c.id == id).values(name=ERASED))
    if project._engine.dialect.name == "sqlite":
        with contextlib.closing(project._engine.raw_connection()) as raw:  # outside of any transaction
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    project.record("person-erased", person=id)


def invite(project: Project, id: str, days: float = INVITE_DAYS) -> str:
    """A new token by which this person gets in for `days`; the one before is void."""
    token = secrets.token_urlsafe(32)
    with writing(project, "person") as connection:
        values = {"invite": digest_of(token), "invite_until": utc_in(days * 86400)}
        connection.execute(sa.update(person).where(person.c.id == id).values(**values))
    project.record("invite", person=id)
    return token


def invited(project: Project, token: str) -> Person | None:
    """Whom an invitation token belongs to; None if it is wrong, too old, or its person has retired."""
    valid = (person.c.invite == digest_of(token)) & (person.c.invite_until > utc_now())
    return _find(project, valid & (person.c.state != "retired"))


def log_in(project: Project, id: str, days: float = LOGIN_DAYS) -> str:
    """A token by which a browser shows for `days` that it is this person's."""
    token = secrets.token_urlsafe(32)
    with writing(project, "login") as connection:
        connection.execute(sa.delete(login).where(login.c.until < utc_now()))
        row = {"id": digest_of(token), "person": id, "until": utc_in(days * 86400)}
        connection.execute(sa.insert(login).values(**row))
    project.record("login", person=id)
    return token


def logged_in(project: Project, token: str) -> Person | None:
    """Whom a login token belongs to; None if it is wrong or too old."""
    with reading(project) as connection:
        row = connection.execute(_LOGGED_IN, {"digest": digest_of(token), "now": utc_now()}).first()
    return _person(row._mapping) if row else None


def log_out(project: Project, token: str) -> None:
    """End one login."""
    with writing(project, "login") as connection:
        connection.execute(sa.delete(login).where(login.c.id == digest_of(token)))


def digest_of(token: str) -> str:
    """What the database keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def utc_in(seconds: float) -> str:
    """The time in `seconds` from now, written as `utc_now` does."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds")


@contextlib.contextmanager
def reading(project: Project) -> Iterator[sa.Connection]:
    """One transaction that only looks; a UserError says what is wrong with the database."""
    with db.clear_errors(project.place), project._engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def writing(project: Project, *tables: str) -> Iterator[sa.Connection]:
    """One transaction that is the only writer of `tables`; errors as in `reading`."""
    with db.clear_errors(project.place), db.writing(project._engine, *tables) as connection:
        yield connection


def _find(project: Project, where: sa.ColumnElement[bool]) -> Person | None:
    with reading(project) as connection:
        row = connection.execute(sa.select(person).where(where)).mappings().first()
    return _person(row) if row else None


def _person(row: Any) -> Person:
    values = {key: row[key] for key in ("id", "name", "role", "state", "created")}
    return Person(**values, invited=bool(row["invite"]) and row["invite_until"] > utc_now())
