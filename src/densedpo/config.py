"""Settings: strict, frozen, from YAML and from flags. Every mistake is reported at once, each with its remedy."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import pydantic_core
import yaml

from densedpo.errors import UserError


class Settings(pydantic.BaseModel):
    """Base of every settings class: frozen, no unknown keys, no NaN or infinity."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


S = TypeVar("S", bound=Settings)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, as in YAML 1.2 (YAML 1.1 reads it as text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_settings(cls: type[S], file: Path | None, overrides: Mapping[str, Any]) -> S:
    """Settings of class `cls`: `overrides` (flags) over the YAML `file` over the defaults.

    Nested settings merge key by key. Values keep their kind: the text "5" is no number, and 1 is no boolean.
    Raises UserError with all mistakes at once; an unknown key names the nearest known one.
    """
    values = _merged(read_yaml(file) if file else {}, overrides)
    try:
        return cls.model_validate_json(pydantic_core.to_json(values), strict=True)
    except pydantic.ValidationError as error:
        lines = [_explain(cls, mistake) for mistake in error.errors()]
        origin = f" ({file})" if file else ""
        raise UserError(f"mistakes in the settings{origin}:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; an empty file is an empty mapping. Raises UserError if it cannot be read."""
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"there is no settings file {file}; check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read as YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{file} must hold `key: value` lines, but holds a {type(values).__name__}")
    return values


def dump_settings(settings: Settings) -> str:
    """YAML text from which `load_settings` makes equal settings again."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _explain(cls: type[Settings], mistake: Any) -> str:
    """One line for one pydantic mistake: which key, what is wrong, and what would be right."""
    *parents, key = [str(part) for part in mistake["loc"]] or ["settings"]
    name = ".".join([*parents, key])
    if mistake["type"] == "missing":
        return f"{name} is missing; give it a value"
    if mistake["type"] != "extra_forbidden":
        return f"{name}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}, got {mistake['input']!r}"
    known = _keys_at(cls, parents)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"unknown key {name}" + (f"; did you mean {'.'.join([*parents, near[0]])}?" if near else "")


def _keys_at(cls: type[Settings], parents: list[str]) -> list[str]:
    """The known keys of the (possibly nested) settings that `parents` leads to."""
    for parent in parents:
        field = cls.model_fields.get(parent)
        options = [] if field is None else [field.annotation, *get_args(field.annotation)]
        nested = [option for option in options if isinstance(option, type) and issubclass(option, Settings)]
        if len(nested) == 1:
            cls = nested[0]
    return list(cls.model_fields)
