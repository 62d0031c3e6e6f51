"""Rows. An id is a hash of what identifies the row, so the same work has the same name everywhere."""

import datetime
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from densedpo.errors import UserError

FileKind = Literal["media", "latents"]
Split = Literal["train", "validation", "test"]

CHOICES = ("a", "b", "tie", "skip")
ANNOTATOR_KINDS = ("human", "oracle", "vlm", "reward")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. Raises ValueError for NaN and infinity."""
    return _ENCODER.encode(value)


def content_id(*parts: Any) -> str:
    """32 hex characters of the SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]


def recipe_id(recipe: dict[str, Any]) -> str:
    """The id of the pair that a recipe makes."""
    return content_id(recipe)


def clip_id(source_digest: str, start: float, frames: int, fps: float, width: int, height: int) -> str:
    """The id of a clip cut from the file with SHA-256 `source_digest` at `start` seconds."""
    return content_id(source_digest, float(start), frames, float(fps), width, height)


def split_of(id: str) -> Split:
    """The split of an id: of all ids 90% train, 5% validation, 5% test."""
    percent = int(hashlib.sha256(f"split:{id}".encode()).hexdigest(), 16) % 100
    return "train" if percent < 90 else "validation" if percent < 95 else "test"


def utc_now() -> str:
    """The time now as ISO 8601 text in UTC; the texts sort as the times do."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A real video, normalised to the project's frames, fps and size. `media` is the SHA-256 of its file."""

    table: ClassVar[str] = "clip"
    incidental: ClassVar[frozenset[str]] = frozenset({"origin", "created"})

    id: str
    media: str
    caption: str
    frames: int
    fps: float
    width: int
    height: int
    source: str
    licence: str
    split: str
    origin: str
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two videos, `a` and `b`, made or imported by one recipe; `id` is `recipe_id(recipe)`. It has no winner.

    `eta` is the sigma from which a guided pair starts; `latents` the SHA-256 of the safetensors file with both members.
    """

    table: ClassVar[str] = "pair"
    incidental: ClassVar[frozenset[str]] = frozenset({"created"})

    id: str
    recipe: dict[str, Any]
    clip: str | None
    prompt: str
    mode: str
    split: str
    frames: int
    fps: float
    width: int
    height: int
    eta: float | None
    model_hash: str
    vae_hash: str
    media_a: str
    media_b: str
    latents: str | None
    distance: float | None
    near_identical: bool
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One opinion on one segment (None: the whole video) of one pair. Make one with `Label.make`."""

    table: ClassVar[str] = "label"
    incidental: ClassVar[frozenset[str]] = frozenset({"milliseconds", "created"})

    id: str
    pair: str
    seen: str
    segment: int | None
    segment_seconds: float
    choice: str
    aspect: str
    annotator_kind: str
    annotator: str
    annotator_version: str
    assignment: str | None
    order_shown: str
    confidence: float | None
    milliseconds: int | None
    comment: str
    supersedes: str | None
    created: str = field(default_factory=utc_now)

    @classmethod
    def make(
        cls,
        *,
        pair: str,
        seen: str,
        segment: int | None,
        segment_seconds: float,
        choice: str,
        annotator_kind: str,
        annotator: str,
        annotator_version: str = "1",
        aspect: str = "overall",
        assignment: str | None = None,
        order_shown: str = "ab",
        confidence: float | None = None,
        milliseconds: int | None = None,
        comment: str = "",
        supersedes: str | None = None,
    ) -> Self:
        """A label with the id of its natural key. Raises UserError for a value that no label can have."""
        _one_of("choice", choice, CHOICES)
        _one_of("annotator_kind", annotator_kind, ANNOTATOR_KINDS)
        _one_of("order_shown", order_shown, ("ab", "ba"))
        if segment is not None and segment < 0:
            raise UserError(f"segment {segment} of a label must be 0 or more, or None for the whole video")
        if not segment_seconds > 0:
            raise UserError(f"segment_seconds {segment_seconds} of a label must be more than 0")
        if confidence is not None and not 0 <= confidence <= 1:
            raise UserError(f"confidence {confidence} of a label must lie between 0 and 1, or be None")
        values = {key: value for key, value in locals().items() if key != "cls"}
        values["segment_seconds"] = float(segment_seconds)
        return cls(id=label_id(**{key: values[key] for key in NATURAL_KEY}), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the audit log."""

    table: ClassVar[str] = "event"
    incidental: ClassVar[frozenset[str]] = frozenset()

    id: str
    time: str
    kind: str
    detail: dict[str, Any]


Row = Clip | Pair | Label | Event

NATURAL_KEY = (
    *("pair", "segment", "segment_seconds", "aspect", "annotator_kind", "annotator", "annotator_version"),
    *("assignment", "supersedes"),
)


def label_id(**natural_key: Any) -> str:
    """The id of the label with this natural key: a value for each of `NATURAL_KEY`."""
    return content_id("label", *(natural_key[key] for key in NATURAL_KEY))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} {value!r} of a label must be one of {', '.join(allowed)}")


def files_of(row: Row) -> list[tuple[FileKind, str]]:
    """The files a row stands for, as (kind, SHA-256)."""
    if isinstance(row, Clip):
        return [("media", row.media)]
    if isinstance(row, Pair):
        latents: list[tuple[FileKind, str]] = [("latents", row.latents)] if row.latents else []
        return [("media", row.media_a), ("media", row.media_b), *latents]
    return []


def references_of(row: Row) -> list[str]:
    """The ids of the rows that a row refers to."""
    if isinstance(row, Pair):
        return [row.clip] if row.clip else []
    if isinstance(row, Label):
        return [row.pair, *([row.supersedes] if row.supersedes else [])]
    return []
