"""The first tables: clip, pair, label, event."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _shape() -> list[sa.Column[Any]]:
    return [
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("fps", sa.Double, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
    ]


def _refers(name: str, table: str, nullable: bool) -> sa.Column[str]:
    target = sa.ForeignKey(f"{table}.id", deferrable=True, initially="DEFERRED")
    return sa.Column(name, sa.Text, target, nullable=nullable, index=True)


def upgrade() -> None:
    """Make the tables."""
    _clips_and_pairs()
    op.create_table(
        "label",
        sa.Column("id", sa.Text, primary_key=True),
        _refers("pair", "pair", nullable=False),
        *_text("seen"),
        sa.Column("segment", sa.Integer),
        sa.Column("segment_seconds", sa.Double, nullable=False),
        *_text("choice", "aspect", "annotator_kind", "annotator", "annotator_version"),
        sa.Column("assignment", sa.Text),
        *_text("order_shown"),
        sa.Column("confidence", sa.Double),
        sa.Column("milliseconds", sa.Integer),
        *_text("comment"),
        _refers("supersedes", "label", nullable=True),
        *_text("created"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.Text, nullable=False, index=True),
        *_text("kind"),
        sa.Column("detail", sa.JSON, nullable=False),
    )


def _clips_and_pairs() -> None:
    op.create_table(
        "clip",
        sa.Column("id", sa.Text, primary_key=True),
        *_text("media", "caption"),
        *_shape(),
        *_text("source", "licence", "split", "origin", "created"),
    )
    op.create_table(
        "pair",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("recipe", sa.JSON, nullable=False),
        _refers("clip", "clip", nullable=True),
        *_text("prompt", "mode", "split"),
        *_shape(),
        sa.Column("eta", sa.Double),
        *_text("model_hash", "vae_hash", "media_a", "media_b"),
        sa.Column("latents", sa.Text),
        sa.Column("distance", sa.Double),
        sa.Column("near_identical", sa.Boolean, nullable=False),
        *_text("created"),
    )
