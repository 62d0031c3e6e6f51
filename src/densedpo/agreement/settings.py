"""What is compared with what."""

from __future__ import annotations

from pydantic import Field

from densedpo.store.consensus import ConsensusSettings
from densedpo.store.schema import Split


class AgreementSettings(ConsensusSettings):
    """What is compared with what, and what of it is shown."""

    run: str = Field("agreement", description="Name of the run folder that the page goes to.")
    reference: str = Field(
        "consensus",
        description="Whom all are compared with: consensus (of the others), people (consensus of the other people), "
        "gold (the right answers that are known), or the name of a labeller.",
    )
    annotators: tuple[str, ...] | None = Field(None, description="Names of the labellers to look at; all if not given.")
    aspect: str = Field("overall", description="The aspect that most of the page is about.")
    split: Split | None = Field(None, description="Labels on pairs of this split only; all if not given.")
    static_test: int | None = Field(
        None, gt=0, description="Also let every weights-free scorer choose between so many clips and frozen copies."
    )
    motion_pairs: int = Field(300, ge=0, description="On how many pairs motion is measured; 0 leaves it out.")
    shown: int = Field(6, ge=0, description="How many pairs of great disagreement are shown.")
    resamples: int = Field(2000, gt=0, description="Draws of the bootstrap behind each interval.")
    seed: int = Field(0, ge=0, description="Seed of these draws.")
