"""Captions in one table for a whole folder: metadata.csv, metadata.jsonl or metadata.parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from densedpo.errors import UserError

FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CAPTION_COLUMNS = ("caption", "text", "prompt")
LICENCE_COLUMNS = ("licence", "license")


@dataclass(frozen=True)
class Row:
    """What one row says of one file; an absent or blank value is None. `where` names the row for messages."""

    where: str
    file_name: str
    caption: str | None
    source: str | None
    licence: str | None


def read_metadata(folder: Path) -> list[Row]:
    """The rows of the folder's metadata file, or none if it has no such file.

    Raises UserError for several metadata files, a file that cannot be read, or a missing or ambiguous column.
    """
    files = [folder / name for name in FILES if (folder / name).is_file()]
    if not files:
        return []
    if len(files) > 1:
        raise UserError(f"{folder} holds {' and '.join(file.name for file in files)}; keep one of them")
    file = files[0]
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{file} is a link out of the folder; copy the file into it")
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    try:
        return [_row(where, values) for where, values in readers[file.suffix](file)]
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {error}; write it again as UTF-8 {file.suffix[1:]}") from error


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    for values in reader:
        where = f"{file.name} line {reader.line_num}"
        if None in values:
            raise UserError(f"{where} has more values than the header has columns; put text with commas in quotes")
        yield where, values


def _json_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
        where = f"{file.name} line {number}"
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f'{where} must be an object such as {{"file_name": "a.mp4", "caption": "a red ball"}}')
        yield where, values


def _parquet_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, values in enumerate(pq.read_table(file).to_pylist(), start=1):
        yield f"{file.name} row {number}", values


def _row(where: str, values: dict[str, Any]) -> Row:
    file_name = _text(where, values, ("file_name",))
    if file_name is None:
        raise UserError(f"{where} has no file_name; give the file's path inside the folder")
    return Row(
        where=where,
        file_name=file_name,
        caption=_text(where, values, CAPTION_COLUMNS),
        source=_text(where, values, ("source",)),
        licence=_text(where, values, LICENCE_COLUMNS),
    )


def _text(where: str, values: dict[str, Any], columns: tuple[str, ...]) -> str | None:
    present = [column for column in columns if column in values]
    if len(present) > 1:
        raise UserError(f"{where} has the columns {' and '.join(present)}, which mean the same; keep one")
    value = values[present[0]] if present else None
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {present[0]} must be text, got {value!r}")
    return (value or "").strip() or None
