"""People who label, their logins, and which pair is assigned to whom."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _refers(name: str, table: str, index: bool) -> sa.Column[str]:
    return sa.Column(name, sa.Text, sa.ForeignKey(f"{table}.id"), nullable=False, index=index)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "person",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("name", "role", "state"),
        sa.Column("invite", sa.Text, index=True),
        sa.Column("invite_until", sa.Text),
        *_text("created"),
    )
    op.create_table(
        "login",
        sa.Column("id", sa.Text, primary_key=True),
        _refers("person", "person", index=True),
        *_text("until"),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.Text, primary_key=True),
        _refers("pair", "pair", index=False),
        _refers("person", "person", index=True),
        sa.Column("slot", sa.Integer, nullable=False),
        *_text("order_shown", "seen", "state", "lease_until", "created"),
        sa.Column("finished", sa.Text),
    )
    held = sa.text("state != 'lapsed'")
    op.create_index(
        "ix_assignment_slot", "assignment", ["pair", "slot"], unique=True, sqlite_where=held, postgresql_where=held
    )
