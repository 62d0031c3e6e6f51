"""The tables that hold the rows, and rows as the tables see them."""

import operator
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from densedpo.store.schema import Row, canonical_json

metadata = sa.MetaData()


def _text(name: str, *constraints: Any, index: bool = False, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *constraints, index=index, nullable=optional)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.Text, primary_key=True)


def _refers(table: str) -> sa.ForeignKey:
    """A reference checked at commit, so that rows of one call may come in any order."""
    return sa.ForeignKey(f"{table}.id", deferrable=True, initially="DEFERRED")


def _shape() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("fps", sa.Double, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
    )


clip = sa.Table(
    "clip",
    metadata,
    _id(),
    _text("media"),
    _text("caption"),
    *_shape(),
    _text("source"),
    _text("licence"),
    _text("split"),
    _text("origin"),
    _text("created"),
)
pair = sa.Table(
    "pair",
    metadata,
    _id(),
    sa.Column("recipe", sa.JSON, nullable=False),
    _text("clip", _refers("clip"), optional=True, index=True),
    _text("prompt"),
    _text("mode"),
    _text("split"),
    *_shape(),
    sa.Column("eta", sa.Double),
    _text("model_hash"),
    _text("vae_hash"),
    _text("media_a"),
    _text("media_b"),
    _text("latents", optional=True),
    sa.Column("distance", sa.Double),
    sa.Column("near_identical", sa.Boolean, nullable=False),
    _text("created"),
)
label = sa.Table(
    "label",
    metadata,
    _id(),
    _text("pair", _refers("pair"), index=True),
    _text("seen"),
    sa.Column("segment", sa.Integer),
    sa.Column("segment_seconds", sa.Double, nullable=False),
    _text("choice"),
    _text("aspect"),
    _text("annotator_kind"),
    _text("annotator"),
    _text("annotator_version"),
    _text("assignment", optional=True),
    _text("order_shown"),
    sa.Column("confidence", sa.Double),
    sa.Column("milliseconds", sa.Integer),
    _text("comment"),
    _text("supersedes", _refers("label"), optional=True, index=True),
    _text("created"),
)
event = sa.Table(
    "event",
    metadata,
    _id(),
    _text("time", index=True),
    _text("kind"),
    sa.Column("detail", sa.JSON, nullable=False),
)

# Who labels what. These rows change; they belong to the machine that people label on and are not merged.
person = sa.Table(
    "person",
    metadata,
    _id(),
    _text("name"),
    _text("role"),
    _text("state"),
    _text("invite", optional=True, index=True),
    _text("invite_until", optional=True),
    _text("created"),
)
login = sa.Table(
    "login",
    metadata,
    _id(),
    _text("person", sa.ForeignKey("person.id"), index=True),
    _text("until"),
)
assignment = sa.Table(
    "assignment",
    metadata,
    _id(),
    _text("pair", sa.ForeignKey("pair.id"), index=True),
    _text("person", sa.ForeignKey("person.id"), index=True),
    sa.Column("slot", sa.Integer, nullable=False),
    _text("order_shown"),
    _text("seen"),
    _text("state"),
    _text("lease_until"),
    _text("created"),
    _text("finished", optional=True),
    _text("kind"),
)
_held = (assignment.c.state != "lapsed") & (assignment.c.kind == "work")
sa.Index(  # the database itself refuses a second holder
    "ix_assignment_slot", assignment.c.pair, assignment.c.slot, unique=True, sqlite_where=_held, postgresql_where=_held
)
gold = sa.Table(
    "gold",
    metadata,
    _id(),
    _text("pair", sa.ForeignKey("pair.id"), index=True),
    sa.Column("segment", sa.Integer),
    _text("aspect"),
    _text("choice"),
    _text("origin"),
    _text("created"),
)

# What machine judges answered, and so what need not be asked again. Like assignments, these are not merged.
judgement = sa.Table(
    "judgement",
    metadata,
    _id(),
    _text("pair", sa.ForeignKey("pair.id"), index=True),
    sa.Column("segment", sa.Integer),
    sa.Column("segment_seconds", sa.Double, nullable=False),
    _text("aspect"),
    _text("judge", index=True),
    _text("judge_version"),
    _text("order_shown"),
    sa.Column("vote", sa.Integer, nullable=False),
    _text("outcome"),
    _text("choice"),
    sa.Column("confidence", sa.Double),
    sa.Column("artifacts", sa.JSON, nullable=False),
    _text("reason"),
    _text("raw"),
    sa.Column("tokens_in", sa.Integer, nullable=False),
    sa.Column("tokens_out", sa.Integer, nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    _text("created"),
)


def values_of(row: Row) -> dict[str, Any]:
    """A row as a mapping from column to value, every number of the kind that the database gives back."""
    columns = metadata.tables[row.table].c
    return {each.name: _as_stored(columns[each.name].type, getattr(row, each.name)) for each in fields(row)}


def _as_stored(kind: sa.types.TypeEngine[Any], value: Any) -> Any:
    for column_type, convert in ((sa.Double, float), (sa.Integer, operator.index), (sa.Boolean, bool)):
        if isinstance(kind, column_type) and value is not None:
            return convert(value)
    return value


def content_of(row: Row) -> str:
    """What must agree between two rows of one id: canonical JSON of all but the incidental."""
    return canonical_json({key: value for key, value in values_of(row).items() if key not in row.incidental})


def differing(here: Row, given: Row) -> list[str]:
    """The columns in which two rows of one id disagree."""
    mine, theirs = values_of(here), values_of(given)
    return [key for key in mine if mine[key] != theirs[key] and key not in here.incidental]
