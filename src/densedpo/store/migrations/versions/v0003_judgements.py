"""What machine judges answered."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _text(*names: str, index: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, index=index) for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "judgement",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, sa.ForeignKey("pair.id"), nullable=False, index=True),
        sa.Column("segment", sa.Integer),
        sa.Column("segment_seconds", sa.Double, nullable=False),
        *_text("aspect"),
        *_text("judge", index=True),
        *_text("judge_version", "order_shown"),
        *_number("vote"),
        *_text("outcome", "choice"),
        sa.Column("confidence", sa.Double),
        sa.Column("artifacts", sa.JSON, nullable=False),
        *_text("reason", "raw"),
        *_number("tokens_in", "tokens_out", "milliseconds"),
        *_text("created"),
    )
