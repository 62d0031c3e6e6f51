"""What a user can choose about an ingest."""

from __future__ import annotations

from typing import Annotated, Literal

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
    sizes: tuple[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")], ...] | None = Field(
        default=None,
        min_length=1,
        description="Sizes, each WIDTHxHEIGHT: a file takes the one nearest in shape of those that it is large enough "
        "for. The project's if not given.",
    )
    frames: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        default=None,
        min_length=1,
        description="Lengths in frames: a clip takes the longest that its file fills. The project's if not given.",
    )
    crop: Literal["center", "none"] = Field(
        default="center", description="Cut the middle out of files of another shape than their clips, or refuse them."
    )
    start: float = Field(default=0.0, ge=0, description="Seconds into each file at which its first clip starts.")
    windows_per_file: int = Field(
        default=1, ge=1, le=1000, description="Take up to so many clips from each file, one after another."
    )
    on_error: Literal["skip", "stop"] = Field(
        default="skip", description="After a file that cannot be taken: go on and list it at the end, or stop."
    )
