"""Batch files: the questions written down for the OpenAI batch API or `vllm run-batch`, and the answers read back.

One line is one request, `{"custom_id", "method", "url", "body"}`; the id is the question's, so the answers find their
place whatever happened in between.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.judges.vlm.answer import NoCompletionError, Verdict, is_filtered, read_completion
from densedpo.judges.vlm.protocol import UnansweredError
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels.vlm_units import Unit

URL = "/v1/chat/completions"
# What the batch API takes in one file (its reference, "Create batch"); what does not fit goes to further files.
REQUESTS_PER_FILE, BYTES_PER_FILE = 50_000, 200_000_000


@dataclass(frozen=True)
class BatchFiles:
    """What was written: files, requests in all, and questions that were answered before."""

    files: tuple[Path, ...]
    requests: int
    answered: int


def write_batch(judge: JudgeSettings, units: Iterator[Unit], path: Path) -> BatchFiles:
    """Write every question without an answer to `path`, and to `NAME-2.jsonl`, ... when one file is full.

    Each file appears under its name only when it is finished. Higher numbers, which an earlier batch needed, are
    removed: sent again, they would cost twice. Raises UserError when the disk is full.
    """
    writer = _Writer(path)
    written: set[str] = set()  # two pairs with the same pictures have the same question
    answered = 0
    try:
        for unit in units:
            answered += len(unit.known)
            for question in unit.questions:
                if question.id not in unit.known and question.id not in written:
                    writer.add({"custom_id": question.id, "method": "POST", "url": URL, "body": question.body(judge)})
                    written.add(question.id)
        writer.finish()
    finally:
        writer.discard()
    number = max(1, len(writer.files))  # with nothing to write, the file itself stays as it is
    while (stale := _numbered(path, number := number + 1)).exists():
        stale.unlink()
    return BatchFiles(tuple(writer.files), len(written), answered)


class BatchJudge:
    """Answers questions from the result files of a batch."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._places: dict[str, tuple[int, int]] = {}  # by custom_id: which file, at which byte
        self._unreadable = 0
        self._used = 0
        for number, path in enumerate(self._files):
            self._index(number, path)

    @property
    def unused(self) -> int:
        """How many results, or lines that are none, nobody asked for."""
        return len(self._places) + self._unreadable - self._used

    async def close(self) -> None:
        """Nothing to let go of."""

    async def ask(self, question: Question, tokens: int) -> Verdict:
        """The result for this question. Raises UnansweredError if the files hold none, or an error instead."""
        if question.id not in self._places:
            raise UnansweredError("the batch holds no result for it")
        line = await asyncio.to_thread(self._line, *self._places[question.id])
        self._used += 1
        response = line.get("response") or {}
        body = response.get("body")
        text = json.dumps(body if body is not None else line.get("error"), ensure_ascii=False)
        if response.get("status_code") != 200:
            if is_filtered(text):
                return Verdict("filtered", text)
            raise UnansweredError(f"the batch holds an error for it: {text[:300]}")
        try:
            return read_completion(text)
        except NoCompletionError:
            raise UnansweredError("the batch's result for it is no chat completion") from None

    def _index(self, number: int, path: Path) -> None:
        try:
            with path.open("rb") as file:
                while line := file.readline():
                    read = _parsed(line)
                    if read is not None:
                        self._places[read["custom_id"]] = number, file.tell() - len(line)
                    elif line.strip():
                        self._unreadable += 1
        except OSError as error:
            raise UserError(f"the batch result {path} cannot be read: {error.strerror}") from None

    def _line(self, number: int, start: int) -> dict[str, Any]:
        with self._files[number].open("rb") as file:
            file.seek(start)
            read = _parsed(file.readline())
        if read is None:
            raise UserError(f"{self._files[number]} changed while it was read; run again")
        return read


def _parsed(line: bytes) -> dict[str, Any] | None:
    """One line of results; None if it is not one (the end of a download that broke off)."""
    try:
        read = json.loads(line)
    except ValueError:
        return None
    known = isinstance(read, dict) and isinstance(read.get("custom_id"), str)
    return read if known and isinstance(read.get("response") or {}, dict) else None


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


class _Writer:
    """Lines into files that are never larger than the batch API takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.files: list[Path] = []
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None
        self._lines = self._bytes = 0

    def add(self, request: dict[str, Any]) -> None:
        line = (json.dumps(request, ensure_ascii=False) + "\n").encode()
        if self._lines >= REQUESTS_PER_FILE or self._bytes + len(line) > BYTES_PER_FILE:
            self.finish()
        with disk_full_is_clear(self._path):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._temporary = temporary_beside(self._path)
                self._file = self._temporary.open("wb")
            self._file.write(line)
        self._lines += 1
        self._bytes += len(line)

    def finish(self) -> None:
        """Put what is written so far in its place; the next line opens another file."""
        if self._file is None or self._temporary is None:
            return
        target = _numbered(self._path, len(self.files) + 1)
        with disk_full_is_clear(target):
            self._file.close()
            put_in_place(self._temporary, target)
        self.files.append(target)
        self._file = self._temporary = None
        self._lines = self._bytes = 0

    def discard(self) -> None:
        """Remove what was not finished."""
        if self._file is not None and self._temporary is not None:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
