"""Flat rows in Parquet and JSONL files, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from densedpo.errors import UserError
from densedpo.store.exchange.rows import CLIP_COLUMNS, COLUMNS, LABEL_COLUMNS, PAIR_COLUMNS, RowError, check_columns
from densedpo.store.project import BATCH
from densedpo.store.schema import canonical_json
from densedpo.store.tables import clip, label, pair

ROW_GROUP = 20_000
LINE_BYTES = 16 * 2**20
REST = "mend that and import again; nothing was added"
_ARROW = ((sa.JSON, pa.string()), (sa.Double, pa.float64()), (sa.Boolean, pa.bool_()), (sa.Integer, pa.int32()))


def _arrow(column: sa.Column[Any]) -> Any:
    return next((arrow for kind, arrow in _ARROW if isinstance(column.type, kind)), pa.string())


def _schema() -> Any:
    columns = {name: label.c[name] for name in LABEL_COLUMNS}
    columns |= {name: pair.c[own] for name, own in PAIR_COLUMNS.items()}
    columns |= {name: clip.c[own] for name, own in CLIP_COLUMNS.items()}
    return pa.schema([(name, pa.bool_() if name == "stands" else _arrow(columns[name])) for name in COLUMNS])


SCHEMA = _schema()


def write_jsonl(path: Path, batches: Iterable[list[Mapping[str, Any]]]) -> int:
    """Write one JSON object a line; return how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for batch in batches:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in batch)
            count += len(batch)
    return count


def write_parquet(path: Path, batches: Iterable[list[Mapping[str, Any]]]) -> int:
    """Write a Parquet file with `SCHEMA`; `pair_recipe` is JSON text in it. Return how many rows."""
    count, held = 0, 0
    group: list[Any] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for batch in batches:
            rows = [{**row, "pair_recipe": canonical_json(row["pair_recipe"])} for row in batch]
            group.append(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            count, held = count + len(rows), held + len(rows)
            if held >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(group))
                group, held = [], 0
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return count


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) for each line that is not blank. Raises UserError for a line that is no JSON object."""
    with _opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), start=1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), object_pairs_hook=_once)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place}: this is no JSON object ({error}); {REST}") from None
            if not isinstance(row, dict):
                raise UserError(f"{place}: this is no JSON object, but {row!r:.40}; {REST}")
            yield place, row


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check the path") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose every key is given once; otherwise readers would differ in which value they take."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is given twice")
    return row


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) for each row. Columns may be of a wider type (pandas makes them so) if no value is lost.

    Raises UserError for another file, other columns, or a value that is not of its column's type.
    """
    with _opened(path) as raw:
        try:
            file = pq.ParquetFile(raw)
            check_columns(file.schema_arrow.names)
        except RowError as error:
            raise UserError(f"{path}: column {error}; {REST}") from None
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is no Parquet file that can be read ({_first(error)}); {REST}") from None
        number = 0
        for batch in _batches(path, file):
            for row in batch:
                number += 1
                yield f"{path}, row {number}", row


def _batches(path: Path, file: Any) -> Iterator[list[dict[str, Any]]]:
    start = 0
    batches = file.iter_batches(batch_size=BATCH)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            rows = pa.RecordBatch.from_arrays([_cast(batch, each) for each in SCHEMA], schema=SCHEMA).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}, after row {start}: {_first(error)}; {REST}") from None
        for offset, row in enumerate(rows, start=1):
            row["pair_recipe"] = _parsed(row["pair_recipe"], f"{path}, row {start + offset}")
        start += len(rows)
        yield rows


def _cast(batch: Any, wanted: Any) -> Any:
    try:
        return batch.column(wanted.name).cast(wanted.type)
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"column {wanted.name} must hold {wanted.type} ({_first(error)})") from None


def _parsed(recipe: str | None, place: str) -> Any:
    try:
        return json.loads(recipe or "null", object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}, column pair_recipe: this is no JSON object ({error}); {REST}") from None


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0]
