"""Label Studio's JSON export: comparisons of two videos, of the whole or of time ranges.

A task's data holds `pair` (the id of a pair of the project), or `video_a`, `video_b` and `prompt`. Answers are results
of the kinds pairwise, choices, timelinelabels and labels. A control named as an aspect asks about that aspect, any
other about the overall quality. A range answers for the segments of which it covers more than half.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from densedpo.errors import UserError
from densedpo.labels.imported.videos import Videos, imported_pair
from densedpo.progress import track
from densedpo.store.assignments import find_clip, find_pair
from densedpo.store.exchange import ImportReport, Opinion, add_opinions
from densedpo.store.exchange.files import REST
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair, content_id, utc_now
from densedpo.store.segments import segment_grid

ASPECTS = ("overall", "visual_quality", "text_alignment", "temporal_consistency", "motion")
SIDES = ("left", "right")
WORDS = {
    **dict.fromkeys(("a", "a is better", "video a"), "a"),
    **dict.fromkeys(("b", "b is better", "video b"), "b"),
    **dict.fromkeys(("left", "left is better"), "left"),
    **dict.fromkeys(("right", "right is better"), "right"),
    **dict.fromkeys(("tie", "same", "equal", "no difference"), "tie"),
    **dict.fromkeys(("skip", "can't tell", "cannot tell", "unsure"), "skip"),
}
ANSWERS = ("pairwise", "choices", "timelinelabels", "labels")
Text = Annotated[str, Field(pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]


class _Frames(BaseModel):
    start: int = Field(ge=1)  # Label Studio counts from 1, and the last frame belongs to the range
    end: int = Field(ge=1)


class _Value(BaseModel):
    selected: str | None = None
    choices: list[str] = []
    timelinelabels: list[str] = []
    labels: list[str] = []
    ranges: list[_Frames] = []
    start: float | None = Field(None, ge=0, allow_inf_nan=False)  # seconds
    end: float | None = Field(None, ge=0, allow_inf_nan=False)


class _Result(BaseModel):
    id: str = ""
    type: str
    from_name: str = ""
    value: Any = None


class _Annotation(BaseModel):
    id: int | str
    completed_by: int | str | dict[str, Any] | None = None
    was_cancelled: bool = False
    created_at: AwareDatetime | None = None
    result: list[_Result]


class _Data(BaseModel):
    pair: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    video_a: Text | None = None
    video_b: Text | None = None
    prompt: Text | None = None
    fps: float | None = Field(None, gt=0, allow_inf_nan=False)
    order_shown: Literal["ab", "ba"] = "ab"


class _Task(BaseModel):
    id: int | str | None = None
    data: _Data
    annotations: list[_Annotation]


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a task is about: `fps` counts the frames of its ranges."""

    pair: Pair
    seen: str
    fps: float
    order_shown: Literal["ab", "ba"]


class _Answer(NamedTuple):
    word: str
    aspect: str
    range: tuple[float, float] | None  # seconds


def import_label_studio(project: Project, file: Path, videos: Path | None) -> ImportReport:
    """Add the labels of a JSON export, and the pairs of videos that its tasks compare.

    Raises UserError for the first mistake, with its task, and for a video that is missing or does not fit; no row is
    added then.
    """
    tasks = _tasks(file)
    taken, passed = Videos(project, videos), Counter[str]()
    opinions: list[Opinion] = []
    for number, task in enumerate(track(tasks, description="import")):
        place = f"{file}, task {number + 1}" + (f" (id {task.id})" if task.id is not None else "")
        try:
            opinions += _opinions(project, task, taken, passed)
        except UserError as error:
            raise UserError(f"{place}: {error}; {REST}") from None
    report = add_opinions(project, opinions)
    report.notes += [f"{count} {what}" for what, count in passed.items() if count]
    return report


def _tasks(file: Path) -> list[_Task]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}); choose the format JSON in Label Studio's export") from None
    try:
        return TypeAdapter(list[_Task]).validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        task, *rest = first["loc"] or ("",)
        place = f"task {task + 1}, {'.'.join(map(str, rest))}" if isinstance(task, int) else "the file"
        raise UserError(
            f"{file}, {place}: {first['msg'][0].lower()}{first['msg'][1:]}; choose the format JSON in Label Studio's "
            "export (not JSON-MIN), or mend that; nothing was added"
        ) from None


def _opinions(project: Project, task: _Task, videos: Videos, passed: Counter[str]) -> Iterator[Opinion]:
    if not task.annotations:
        passed["tasks have no annotation"] += 1
        return
    subject = _subject(project, task.data, videos)
    clip = find_clip(project, subject.pair.clip) if subject.pair.clip else None
    for annotation in task.annotations:
        if annotation.was_cancelled:
            passed["annotations were skipped by their annotators and made no label"] += 1
            continue
        for (segment, aspect), word in _by_question(project, annotation, subject, passed).items():
            yield Opinion(clip, subject.pair, _label(project, annotation, subject, segment, aspect, word))


def _subject(project: Project, data: _Data, videos: Videos) -> _Subject:
    if data.pair is not None:
        pair = find_pair(project, data.pair)
        if pair is None:
            raise UserError(f"data.pair is {data.pair}, which is no pair of this project")
        return _Subject(pair, content_id(pair.media_a, pair.media_b), data.fps or pair.fps, data.order_shown)
    if data.video_a is None or data.video_b is None or data.prompt is None:
        raise UserError("data must hold pair (the id of a pair), or video_a, video_b and prompt")
    a, b = videos.take(data.video_a), videos.take(data.video_b)
    pair = imported_pair(project, data.prompt, a, b, {})
    return _Subject(pair, content_id(a.source, b.source), data.fps or a.fps, data.order_shown)


def _by_question(
    project: Project, annotation: _Annotation, subject: _Subject, passed: Counter[str]
) -> dict[tuple[int | None, str], str]:
    """The annotation's word on each (segment, aspect). Raises UserError if it has two."""
    grid = segment_grid(subject.pair.frames, subject.pair.fps, project.settings.segment_seconds)
    words: dict[tuple[int | None, str], str] = {}
    for answer in _answers(annotation, subject, passed):
        places: list[int | None] = [None]
        if answer.range is not None:
            start, end = answer.range
            half = [(each.index, (each.end - each.start) / 2, each) for each in grid]
            places = [index for index, most, each in half if min(end, each.end) - max(start, each.start) > most + 1e-9]
            passed["ranges cover more than half of no segment and made no label"] += not places
        for place in places:
            if words.setdefault((place, answer.aspect), answer.word) != answer.word:
                where = "the whole video" if place is None else f"segment {place}"
                raise UserError(
                    f"annotation {annotation.id} says two things about {answer.aspect} of {where}; "
                    f"controls that ask different things must be named {', '.join(ASPECTS)}"
                )
    return words


def _answers(annotation: _Annotation, subject: _Subject, passed: Counter[str]) -> Iterator[_Answer]:
    values: list[tuple[_Result, _Value]] = []
    for result in annotation.result:
        if result.type not in ANSWERS:
            passed[f"results of type {result.type:.40} have no place in a label"] += 1
            continue
        try:
            values.append((result, _Value.model_validate(result.value)))
        except ValidationError as error:
            told = error.errors(include_url=False)[0]
            where = ".".join(map(str, told["loc"]))
            raise UserError(f"annotation {annotation.id}, value.{where}: {told['msg'].lower()}") from None
    ranges = {result.id: found for result, value in values if (found := _range(value, subject.fps)) is not None}
    chosen = {result.id for result, _ in values if result.type in ("pairwise", "choices")}
    for result, value in values:
        if result.type in ("timelinelabels", "labels") and result.id in chosen:
            continue  # the range of an answer, not an answer
        aspect = result.from_name if result.from_name in ASPECTS else "overall"
        yield _Answer(_word(annotation, result, value, subject), aspect, ranges.get(result.id))


def _range(value: _Value, fps: float) -> tuple[float, float] | None:
    if value.ranges:
        return (value.ranges[0].start - 1) / fps, value.ranges[-1].end / fps
    if value.start is not None and value.end is not None:
        return value.start, value.end
    return None


def _word(annotation: _Annotation, result: _Result, value: _Value, subject: _Subject) -> str:
    given = [value.selected or ""] if result.type == "pairwise" else getattr(value, result.type)
    if len(given) != 1:
        raise UserError(f"annotation {annotation.id} holds {len(given)} answers of {result.from_name}; one is wanted")
    word = WORDS.get(given[0].strip().lower())
    if word is None:
        known = ", ".join(WORDS)
        raise UserError(f"annotation {annotation.id} answers {given[0]!r:.40}; what can be understood is: {known}")
    return subject.order_shown[SIDES.index(word)] if word in SIDES else word


def _label(
    project: Project, annotation: _Annotation, subject: _Subject, segment: int | None, aspect: str, word: str
) -> Label:
    label = Label.make(
        pair=subject.pair.id,
        seen=subject.seen,
        segment=segment,
        segment_seconds=project.settings.segment_seconds,
        choice=word,
        aspect=aspect,
        annotator_kind="human",
        annotator=_pseudonym(annotation.completed_by),
        assignment=f"label-studio-{annotation.id}",
        order_shown=subject.order_shown,
    )
    made = annotation.created_at
    moment = made.astimezone(datetime.UTC).isoformat(timespec="microseconds") if made else utc_now()
    return replace(label, created=moment)


def _pseudonym(who: int | str | dict[str, Any] | None) -> str:
    """Numbers stay; names and addresses do not, as labels carry no personal data."""
    if isinstance(who, dict):
        who = who.get("id", who.get("email"))
    if who is None:
        return "label-studio-unknown"
    name = str(who).encode(errors="replace").decode()
    return f"label-studio-{who if isinstance(who, int) else content_id('label-studio', name)[:12]}"
