"""An index by which the assignments of a pair are found; that of the slots knows only those that are held."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_assignment_pair", "assignment", ["pair"])
