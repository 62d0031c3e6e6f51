"""Pairs with known answers, and assignments that are not ordinary work: gold, repeat, practice, review."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table of known answers; give assignments a kind, and slots to ordinary work alone."""
    op.create_table(
        "gold",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, sa.ForeignKey("pair.id"), nullable=False, index=True),
        sa.Column("segment", sa.Integer),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("aspect", "choice", "origin", "created")),
    )
    op.add_column("assignment", sa.Column("kind", sa.Text, nullable=False, server_default="work"))
    op.drop_index("ix_assignment_slot", "assignment")
    held = sa.text("state != 'lapsed' AND kind = 'work'")
    op.create_index(
        "ix_assignment_slot", "assignment", ["pair", "slot"], unique=True, sqlite_where=held, postgresql_where=held
    )
