"""One flat row for each label: its own columns, those of its pair as `pair_…`, those of the pair's clip as `clip_…`.

`pair` is the pair's id and `pair_clip` the clip's; `stands` is false for a label that another one supersedes, and is
derived from the others, so reading it back ignores it.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, cast, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from densedpo.store.exchange.add import Opinion
from densedpo.store.project import ProjectSettings
from densedpo.store.schema import (
    ANNOTATOR_KINDS,
    CHOICES,
    NATURAL_KEY,
    Clip,
    Label,
    Pair,
    Split,
    canonical_json,
    label_id,
    recipe_id,
)
from densedpo.store.segments import segment_grid
from densedpo.store.shapes import Shape

MOST = 2**31 - 1  # what an integer column of PostgreSQL holds


class RowError(Exception):
    """What is wrong with a row, beginning with the column; whoever reads the file says in which file and line."""


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which no database stores") from None
    if "\0" in text:
        raise ValueError("holds a zero character, which no database stores")
    return text


def _moment(text: str) -> str:
    """Times are compared as texts, so they all are written as `utc_now` writes them."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("has no time zone; end it with +00:00 if it is UTC")
    return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(recipe).encode()
    except (ValueError, RecursionError):
        raise ValueError("is no plain JSON object") from None
    return recipe


Text = Annotated[str, AfterValidator(_storable)]
Moment = Annotated[str, AfterValidator(_moment)]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Whole = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
_SHAPE = {"frames": Whole, "fps": Positive, "width": Whole, "height": Whole, "split": Split, "created": Moment}
_KINDS: dict[type[Clip] | type[Pair] | type[Label], dict[str, Any]] = {
    Clip: {**_SHAPE, "id": Id, "media": Digest},
    Pair: {
        **_SHAPE,
        "id": Id,
        "recipe": Annotated[dict[str, Any], AfterValidator(_recipe)],
        "clip": Id | None,
        "mode": Literal["guided", "independent", "imported"],
        "media_a": Digest,
        "media_b": Digest,
        "latents": Digest | None,
    },
    Label: {
        "id": Id,
        "pair": Id,
        "segment": Whole | None,
        "segment_seconds": Positive,
        "choice": Literal[CHOICES],
        "annotator_kind": Literal[ANNOTATOR_KINDS],
        "order_shown": Literal["ab", "ba"],
        "confidence": Annotated[float, Field(ge=0, le=1)] | None,
        "milliseconds": Whole | None,
        "supersedes": Id | None,
        "created": Moment,
    },
}


def _model(kind: type[Clip] | type[Pair] | type[Label]) -> type[BaseModel]:
    hints = {each.name: get_type_hints(kind)[each.name] for each in fields(kind)}
    plain = {name: Text if hint is str else Text | None if hint == str | None else hint for name, hint in hints.items()}
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    columns = cast(dict[str, Any], {name: (hint, ...) for name, hint in {**plain, **_KINDS[kind]}.items()})
    return create_model(kind.__name__, __config__=config, **columns)


_MODELS = {kind: _model(kind) for kind in _KINDS}
LABEL_COLUMNS = tuple(each.name for each in fields(Label))
PAIR_COLUMNS = {f"pair_{each.name}": each.name for each in fields(Pair) if each.name != "id"}
CLIP_COLUMNS = {f"clip_{each.name}": each.name for each in fields(Clip) if each.name != "id"}
COLUMNS = (*LABEL_COLUMNS, "stands", *PAIR_COLUMNS, *CLIP_COLUMNS)


def opinion_of(row: Mapping[str, Any], settings: ProjectSettings) -> Opinion:
    """The label, pair and clip of a row with exactly `COLUMNS`. Raises RowError for what no project could hold."""
    if row.keys() != set(COLUMNS):
        _wrong_columns(row)
    label: Label = _made(Label, {name: row[name] for name in LABEL_COLUMNS}, "")
    pair: Pair = _made(Pair, {"id": label.pair, **{own: row[name] for name, own in PAIR_COLUMNS.items()}}, "pair_")
    clip = None
    if pair.clip is not None:
        clip = _made(Clip, {"id": pair.clip, **{own: row[name] for name, own in CLIP_COLUMNS.items()}}, "clip_")
    elif given := [name for name in CLIP_COLUMNS if row[name] is not None]:
        raise RowError(f"{given[0]} has a value, but pair_clip names no clip; leave it empty")
    _check(label, pair, clip, settings)
    return Opinion(clip, pair, label)


def check_columns(names: list[str]) -> None:
    """Raise RowError unless these are the columns of a row."""
    if repeated := [name for name in names if names.count(name) > 1]:
        raise RowError(f"{repeated[0]} is there twice; take one out")
    _wrong_columns(dict.fromkeys(names))


def _wrong_columns(row: Mapping[str, Any]) -> None:
    if missing := [name for name in COLUMNS if name not in row]:
        raise RowError(f"{missing[0]} is missing; export the labels again, or add the column")
    if unknown := [name for name in row if name not in COLUMNS]:
        raise RowError(f"{unknown[0]} is no column of a label; take it out")


def _made(kind: Callable[..., Any], values: dict[str, Any], prefix: str) -> Any:
    try:
        return kind(**_MODELS[cast(Any, kind)].model_validate(values).__dict__)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        told = first["msg"].removeprefix("Value error, ")
        raise RowError(f"{prefix}{first['loc'][0]}: {_clause(told)}, got {first['input']!r:.80}") from None


def _clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _check(label: Label, pair: Pair, clip: Clip | None, settings: ProjectSettings) -> None:
    """Raise RowError for values that contradict each other or the project."""
    if label.id != label_id(**{key: getattr(label, key) for key in NATURAL_KEY}):
        raise RowError(f"id {label.id} is not that of a label with these values; labels are corrected by new ones")
    if pair.id != recipe_id(pair.recipe):
        raise RowError(f"pair {pair.id} is not the pair that pair_recipe makes; take both from one export")
    for prefix, row in (("pair_", pair), ("clip_", clip)):
        if row is None:
            continue
        if row.fps != settings.fps:
            told = f"is {row.fps:g}, but the project has {settings.fps:g}"
            raise RowError(f"{prefix}fps {told}; import into one alike")
    for name in Shape._fields:
        here = getattr(pair, name)
        if pair.recipe.get(name, here) != here:
            raise RowError(f"pair_{name} is {here}, but pair_recipe says {pair.recipe[name]!r:.80}; they must agree")
        if clip is not None and getattr(clip, name) != here:
            raise RowError(f"pair_{name} is {here}, but clip_{name} {getattr(clip, name)}; they must agree")
    if clip is not None and clip.split != pair.split:
        raise RowError(f"pair_split is {pair.split}, but clip_split {clip.split}; they must agree")
    count = _segments(pair.frames, pair.fps, label.segment_seconds)
    if label.segment is not None and label.segment >= count:
        raise RowError(f"segment is {label.segment}, but the pair has {count} segments, of which the first is 0")


@functools.lru_cache(maxsize=64)
def _segments(frames: int, fps: float, seconds: float) -> int:
    return len(segment_grid(frames, fps, seconds))
