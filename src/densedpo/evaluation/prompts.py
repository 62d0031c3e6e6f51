"""The prompts of an evaluation, in a fixed order."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from densedpo.errors import UserError
from densedpo.tinyworld.world import captions

SETS = Path(__file__).parent / "prompt_sets"

Numbered = Iterator[tuple[int, str]]


def read_prompts(file: Path | None, model: str, count: int | None, dimension: str | None = None) -> list[str]:
    """The first `count` prompts (None: all) of a file or packaged set; of the tiny world's test split without one.

    A file is .txt (one a line, as VideoJAM-bench and MovieGenBench have them), .jsonl or .csv with `prompt`, or .json
    as VBench_full_info.json, of which `dimension` selects.

    Raises UserError for a file that cannot be read, a prompt given twice, too few prompts, or no file for a model other
    than `tinyworld`.
    """
    if file is None and model != "tinyworld":
        raise UserError(f"only 'tinyworld' has prompts of its own, the model {model} needs --prompts FILE")
    if dimension is not None and (file is None or file.suffix != ".json"):
        raise UserError("only VBench's .json file has dimensions; leave --dimension out or give that file")
    prompts = held_out() if file is None else _of_file(_packaged(file), dimension)
    if count is not None and count > len(prompts):
        raise UserError(f"count is {count}, but there are only {len(prompts)} prompts; ask for at most so many")
    return prompts[:count]


def held_out() -> list[str]:
    """The tiny world's test captions in an order by hash, so that the first few are a fair sample."""
    return sorted(
        (attributes.caption for attributes in captions("test")),
        key=lambda caption: hashlib.sha256(caption.encode()).hexdigest(),
    )


def _packaged(file: Path) -> Path:
    """The file of a set that comes along, if `file` is the name of one and not itself a file."""
    packaged = SETS / f"{file}.txt"
    return packaged if not file.exists() and len(file.parts) == 1 and packaged.exists() else file


def _of_file(file: Path, dimension: str | None) -> list[str]:
    readers: dict[str, Callable[[Path, str], Numbered]] = {
        ".txt": _text_lines,
        ".jsonl": _json_lines,
        ".csv": _csv_rows,
        ".json": lambda file, text: _vbench(file, text, dimension),
    }
    if file.suffix not in readers:
        sets = ", ".join(sorted(path.stem for path in SETS.glob("*.txt")))
        raise UserError(
            f"{file} is no .txt, .jsonl, .csv or .json file and no set that comes along ({sets}); write one prompt a "
            "line into a .txt file"
        )
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


def _text_lines(file: Path, text: str) -> Numbered:
    yield from enumerate(text.split("\n"), start=1)


def _json_lines(file: Path, text: str) -> Numbered:
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


def _csv_rows(file: Path, text: str) -> Numbered:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if "prompt" not in (reader.fieldnames or ()):
        raise UserError(f"{file} has no column `prompt`; its first line must name the columns")
    for row in reader:
        yield reader.line_num, row["prompt"] or ""


def _vbench(file: Path, text: str, dimension: str | None) -> Numbered:
    """`[{"prompt_en": "...", "dimension": ["..."]}, ...]`; a prompt may be listed again under another dimension."""
    try:
        entries: Any = json.loads(text)
        listed = [(entry["prompt_en"].strip(), tuple(entry["dimension"])) for entry in entries]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not of the form of VBench_full_info.json: {error!r}; give another file") from error
    known = sorted({name for _, names in listed for name in names})
    if dimension is not None and dimension not in known:
        raise UserError(f"{file} has no dimension {dimension}; its dimensions are {', '.join(known)}")
    wanted = dict.fromkeys(prompt for prompt, names in listed if dimension is None or dimension in names)
    yield from enumerate(wanted, start=1)
