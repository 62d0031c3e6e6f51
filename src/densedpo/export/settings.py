"""Settings of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from densedpo.config import Settings

Format = Literal["diffusers", "comfyui"]


class ExportSettings(Settings):
    """What to take where."""

    run: str = Field(description="The training run whose adapter is taken.")
    to: Path = Field(description="Folder to put it in; made if absent.")
    format: Format = Field(
        default="diffusers",
        description="diffusers: as `pipe.load_lora_weights` reads it; comfyui: under ComfyUI's names, as a file for "
        "its models/loras.",
    )
