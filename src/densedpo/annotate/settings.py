"""What annotators are asked, how the work is shared out, and where the server listens."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.store.assignments import Queue
from densedpo.store.schema import Split

Aspect = Literal["overall", "visual_quality", "text_alignment", "temporal_consistency", "motion"]


class AnnotateSettings(Settings):
    """Settings of `densedpo annotate`."""

    mode: Literal["segments", "whole", "both"] = Field(
        "segments", description="Ask about every segment, about the whole video, or both."
    )
    aspects: tuple[Aspect, ...] = Field(
        ("overall",), min_length=1, description="What is asked of each segment: overall, or aspects of it."
    )
    overlap: int = Field(2, ge=1, description="How many people label each pair.")
    lease_minutes: float = Field(30.0, gt=0, description="A pair left alone for so long can go to somebody else.")
    minimum_seconds: float = Field(0.0, ge=0, description="How long a segment must have played before a choice counts.")
    guideline: Path | None = Field(
        None,
        description="Markdown file that tells people what to look for; what it shows lies beside it.",
    )
    practice: int = Field(0, ge=0, description="Gold pairs that everybody begins with, being told the right answers.")
    practice_share: float = Field(
        0.7, ge=0, le=1, description="Share of practice answers that must be right; below it, the lead decides."
    )
    gold: Path | None = Field(
        None, description='Known answers, a JSON line each: {"pair": ID, "segment": 0, "choice": "a"}.'
    )
    gold_rate: float = Field(0.1, ge=0, le=0.5, description="Share of a person's pairs that are hidden gold pairs.")
    repeat_rate: float = Field(
        0.05, ge=0, le=0.5, description="Share of a person's pairs that come a second time, the sides swapped."
    )
    show_real: bool = Field(False, description="Let annotators look at the real clip that a pair was made from.")
    split: Split | None = Field(None, description="Pairs of this split only; all if not given.")
    include_near_identical: bool = Field(False, description="Also show pairs whose members hardly differ.")
    arena: str | None = Field(
        None, description="Compare two contestants of this evaluation instead of the project's pairs, whole videos."
    )
    between: str | None = Field(None, description="The two contestants of the arena, as A,B.")
    seed: int = Field(0, ge=0, description="Decides which video of a pair is shown on the left.")
    tokens: bool = Field(False, description="Everybody needs an invitation link; the first, a lead's, is printed.")
    host: str = Field("127.0.0.1", description="Address to listen on; other than this machine's own only with tokens.")
    port: int = Field(8321, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")

    @property
    def queue(self) -> Queue:
        """The part that decides who gets which pair."""
        return Queue(
            overlap=self.overlap,
            lease_seconds=self.lease_minutes * 60,
            split=self.split,
            near_identical=self.include_near_identical,
            seed=self.seed,
        )

    def check_host(self) -> None:
        """Raise UserError if other machines could reach a server that asks nobody who they are."""
        if not self.tokens and not is_local(self.host):
            raise UserError(
                f"anybody who can reach {self.host} could label and read; add --tokens, so that everybody needs an "
                "invitation link, or leave --host out to serve this machine only"
            )


def is_local(host: str) -> bool:
    """Whether only this machine itself can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
