"""The prompts of an evaluation, in a fixed order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

from densedpo.errors import UserError
from densedpo.models.load import TINYWORLD
from densedpo.tinyworld.world import captions


def read_prompts(file: Path | None, model: str, count: int | None) -> list[str]:
    """The first `count` prompts (None: all) of a .txt, .jsonl or .csv file; of the tiny world's test split without one.

    Raises UserError for a file that cannot be read, a prompt given twice, too few prompts, or no file for a model other
    than `tinyworld`.
    """
    if file is None and model != TINYWORLD:
        raise UserError(f"only {TINYWORLD!r} has prompts of its own, the model {model} needs --prompts FILE")
    prompts = held_out() if file is None else _of_file(file)
    if count is not None and count > len(prompts):
        raise UserError(f"count is {count}, but there are only {len(prompts)} prompts; ask for at most so many")
    return prompts[:count]


def held_out() -> list[str]:
    """The tiny world's test captions in an order by hash, so that the first few are a fair sample."""
    return sorted(
        (attributes.caption for attributes in captions("test")),
        key=lambda caption: hashlib.sha256(caption.encode()).hexdigest(),
    )


def _of_file(file: Path) -> list[str]:
    readers = {".txt": _text_lines, ".jsonl": _json_lines, ".csv": _csv_rows}
    if file.suffix not in readers:
        raise UserError(f"{file} is no .txt, .jsonl or .csv file; write one prompt a line into a .txt file")
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = [(number, prompt.strip()) for number, prompt in readers[file.suffix](file, text)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}; write it as UTF-8 text") from error
    first: dict[str, int] = {}
    for number, prompt in found:
        if prompt and first.setdefault(prompt, number) != number:
            raise UserError(f"{file} has {prompt!r} on line {first[prompt]} and on line {number}; keep one of them")
    if not first:
        raise UserError(f"{file} holds no prompts; write one a line")
    return list(first)


def _text_lines(file: Path, text: str) -> Iterator[tuple[int, str]]:
    yield from enumerate(text.split("\n"), start=1)


def _json_lines(file: Path, text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _prompt_of(file, number, line)


def _prompt_of(file: Path, number: int, line: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (json.JSONDecodeError, KeyError, TypeError):
        prompt = None
    if not isinstance(prompt, str):
        raise UserError(f'{file} line {number} is not of the form {{"prompt": "a red ball rolls"}}')
    return prompt


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if "prompt" not in (reader.fieldnames or ()):
        raise UserError(f"{file} has no column `prompt`; its first line must name the columns")
    for row in reader:
        yield reader.line_num, row["prompt"] or ""
