"""What the server and the labelling page say to each other. A page speaks of left and right only."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Choice = Literal["left", "right", "tie", "skip"]
Question = tuple[int | None, str]  # segment (None: the whole video) and aspect

ID = "^[0-9a-f]{32}$"


class RefusedError(Exception):
    """An answer or a wish that cannot be granted; the message is for the person at the page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Strict(BaseModel):
    """No unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SegmentView(Strict):
    """Pixel frames `first` up to, not including, `end`."""

    first: int
    end: int


class AnswerView(Strict):
    """An answer that stands; `id` is what the next answer to its question must replace. No choice: it was withdrawn."""

    id: str
    segment: int | None
    aspect: str
    choice: Choice | None
    comment: str


class OpinionView(Strict):
    """What one of several people said to a question, for a reviewer; `who` counts them from 1."""

    who: int
    segment: int | None
    aspect: str
    choice: Choice
    comment: str


class Practice(Strict):
    """This pair is for practice: the `number`-th of `of`."""

    number: int
    of: int


class Task(Strict):
    """All that a page needs to show one pair and ask about it. Nothing in it depends on which member is a.

    `opinions` are there for a reviewer alone. Gold pairs and repeats look as all others do.
    """

    id: str
    prompt: str
    fps: float
    frames: int
    width: int
    height: int
    strip: int
    swap: bool
    real: bool
    segments: list[SegmentView]
    questions: list[tuple[int | None, str]]
    answers: list[AnswerView]
    minimum_seconds: float
    practice: Practice | None
    opinions: list[OpinionView]


class Answer(Strict):
    """What a person says to one question. `replaces` is the id of their answer until now; no choice withdraws it."""

    assignment: str = Field(pattern=ID)
    segment: int | None = Field(ge=0)
    aspect: str = Field(max_length=64)
    choice: Choice | None
    comment: str = Field("", max_length=2000)
    milliseconds: int = Field(ge=0, le=86_400_000)
    replaces: str | None = Field(None, pattern=ID)


class Compared(Strict):
    """One question of a practice pair: what was answered, and what is right."""

    segment: int | None
    aspect: str
    given: Choice
    right: Choice


class Feedback(Strict):
    """How a practice pair went, and the practice so far: `right` of `asked` answers. `paused`: the lead decides now."""

    compared: list[Compared]
    right: int
    asked: int
    last: bool
    paused: bool
