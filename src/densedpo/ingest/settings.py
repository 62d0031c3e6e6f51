"""What a user can choose about an ingest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from densedpo.config import Settings


class IngestSettings(Settings):
    """How the files of a folder become clips of a project."""

    source: str = Field(
        default="unknown", description="Where the files come from; a metadata column `source` overrides it."
    )
    licence: str = Field(
        default="unknown", description="Their licence; a metadata column `licence` or `license` overrides it."
    )
    caption: str | None = Field(
        default=None, min_length=1, description="Caption of the files that have none of their own."
    )
    crop: Literal["center", "none"] = Field(
        default="center", description="Cut the middle out of files of another shape than the project, or refuse them."
    )
    start: float = Field(default=0.0, ge=0, description="Seconds into each file at which its first clip starts.")
    windows_per_file: int = Field(
        default=1, ge=1, le=1000, description="Take up to so many clips from each file, one after another."
    )
    on_error: Literal["skip", "stop"] = Field(
        default="skip", description="After a file that cannot be taken: go on and list it at the end, or stop."
    )
