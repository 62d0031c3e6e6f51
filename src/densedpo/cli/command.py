"""How a Python function becomes a command: `@command` above it, and an entry in `COMMANDS` of `__init__.py`.

Required parameters become positional arguments, the others flags. A parameter annotated with a `Settings` class becomes
one flag per field (help from the field's description, default shown) plus `--config FILE`; the function receives the
finished settings: flags over the file over the defaults. Every command has `--json`: its result, one line, last.
"""

import inspect
import json
import os
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

from cyclopts import Parameter
from pydantic.fields import FieldInfo
from rich.console import Console

from densedpo.config import Settings, load_settings

Result = dict[str, object]  # what --json prints; with "ok": False in it the exit code is 2
ProjectFolder = Annotated[Path, Parameter(help="The project's folder.")]
JSON_FLAG = Parameter(name="--json", negative="", show_default=False, help="Print the result as JSON, last on stdout.")

FIRST = os.environ.get("RANK", "0") == "0"  # of several processes, one talks
console = Console(soft_wrap=True, highlight=False, quiet=not FIRST)


def command(function: Callable[..., Result]) -> Callable[..., int]:
    """What cyclopts runs for `function`; it returns the exit code."""
    hints = typing.get_type_hints(function, include_extras=True)
    settings = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and issubclass(hint, Settings)}
    assert len(settings) <= 1, f"{function.__name__} takes two settings classes; their flags could clash"

    def run(*arguments: object, json_line: bool = False, **flags: Any) -> int:
        for name, cls in settings.items():
            file, given = flags.pop("config", None), {field: flags.pop(field, None) for field in cls.model_fields}
            flags[name] = load_settings(cls, file, {key: value for key, value in given.items() if value is not None})
        result = function(*arguments, **flags)
        if json_line and FIRST:
            print(json.dumps(result, default=str, ensure_ascii=False), flush=True)
        return 2 if result.get("ok") is False else 0

    parameters = _parameters(function, hints, settings)
    # cyclopts reads all of these from the function that it is given.
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameters(
    function: Callable[..., Result], hints: dict[str, Any], settings: dict[str, type[Settings]]
) -> list[inspect.Parameter]:
    own = inspect.signature(function).parameters.values()
    parameters = [_parameter(each.name, hints[each.name], each.default) for each in own if each.name not in settings]
    for cls in settings.values():
        parameters += _settings_parameters(cls)
    parameters.append(_parameter("json_line", Annotated[bool, JSON_FLAG], False))
    return sorted(parameters, key=lambda each: each.kind)


def _parameter(name: str, hint: Any, default: object) -> inspect.Parameter:
    required = default is inspect.Parameter.empty
    kind = inspect.Parameter.POSITIONAL_ONLY if required else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=hint)


def _settings_parameters(cls: type[Settings]) -> Iterator[inspect.Parameter]:
    for name, field in cls.model_fields.items():
        yield _parameter(name, Annotated[Optional[field.annotation], _flag(field)], None)  # noqa: UP045 (a value)
    file = Parameter(help="YAML file of settings: flags win over it, it wins over the defaults.")
    yield _parameter("config", Annotated[Path | None, file], None)


def _flag(field: FieldInfo) -> Parameter:
    """Not given is None, so that the file or the default can supply the value; the help shows the default."""
    default = field.get_default(call_default_factory=True)
    required = " Required, here or in the file." if field.is_required() else ""
    return Parameter(
        help=f"{field.description or ''}{required}",
        show_default=False if field.is_required() or default is None else lambda _: _shown(default),
        consume_multiple=True,
        negative_iterable="",
    )


def _shown(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
