"""What came back: strictly a verdict, or an abstention. Nonsense is never a tie and never a win."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic

from densedpo.judges.vlm.instruction import ARTIFACT_KINDS
from densedpo.store.judgements import Outcome

# What a server with structured output makes the model write; the model thinks before it chooses.
_KINDS = {"type": "array", "items": {"type": "string", "enum": list(ARTIFACT_KINDS)}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "artifacts_first": _KINDS,
        "artifacts_second": _KINDS,
        "reason": {"type": "string"},
        "choice": {"type": "string", "enum": ["first", "second", "tie"]},
        "confidence": {"type": "number"},
    },
    "required": ["artifacts_first", "artifacts_second", "reason", "choice", "confidence"],
    "additionalProperties": False,
}


class Answer(pydantic.BaseModel):
    """What the model wrote, as asked."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    artifacts_first: list[str]
    artifacts_second: list[str]
    reason: str
    choice: Literal["first", "second", "tie"]
    confidence: float = pydantic.Field(ge=0, le=1)


class _Message(pydantic.BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(pydantic.BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(pydantic.BaseModel):
    choices: list[_Choice] = pydantic.Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer. Without `answer` it is an abstention, and `outcome` says why. `raw` is what the server gave."""

    outcome: Outcome
    raw: str
    answer: Answer | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    milliseconds: int = field(default=0, compare=False)


class NoCompletionError(Exception):
    """What came back is no chat completion at all, so the question was not answered."""


def read_completion(raw: str, milliseconds: int = 0) -> Verdict:
    """The verdict in a chat completion's JSON text. Raises NoCompletionError for anything else (HTML, half a JSON)."""
    try:
        completion = _Completion.model_validate_json(raw)
    except pydantic.ValidationError:
        raise NoCompletionError from None
    usage = completion.usage or _Usage()
    outcome, answer = _read(completion.choices[0])
    return Verdict(outcome, raw, answer, usage.prompt_tokens, usage.completion_tokens, milliseconds)


def is_filtered(error: str) -> bool:
    """Whether an HTTP error's text says that the request was kept from the model for what it shows."""
    return any(word in error for word in ("content_filter", "content_policy"))


def _read(choice: _Choice) -> tuple[Outcome, Answer | None]:
    if choice.message.refusal:
        return "refused", None
    if choice.finish_reason == "content_filter":
        return "filtered", None
    if choice.finish_reason == "length":
        return "truncated", None
    try:
        return "answered", Answer.model_validate_json(_bare(choice.message.content or ""))
    except pydantic.ValidationError:
        return "nonsense", None


def _bare(text: str) -> str:
    """The text without a thought before it and without one code fence around it."""
    text = re.sub(r"\A\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", text, flags=re.DOTALL)
    return fenced[1] if fenced else text
