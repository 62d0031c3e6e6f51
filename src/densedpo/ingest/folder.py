"""Find the video files of a folder and the caption of each."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from densedpo.errors import UserError
from densedpo.ingest.metadata import Row, read_metadata
from densedpo.ingest.settings import IngestSettings

SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".ogv")


class RefusedError(Exception):
    """One file cannot be taken; the message says why. The others still can."""


class Rejection(NamedTuple):
    """A file, by its path inside the folder, and why it was not taken."""

    file: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A video file, its path inside the folder, and what is known of it."""

    path: Path
    name: str
    caption: str
    source: str
    licence: str


def find_sources(folder: Path, settings: IngestSettings) -> tuple[list[Source], list[Rejection]]:
    """The captioned video files below `folder`, sorted by name, and the files that cannot be taken.

    Captions come from the folder's metadata file, else from a .txt file beside the video, else from the settings.
    Hidden files are passed over and links out of the folder refused. Raises UserError if there is no such folder, no
    video file in it, or a broken metadata file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the folder that holds the video files")
    rejected: list[Rejection] = []
    files = {path.relative_to(folder).as_posix(): path for path in _video_files(folder, rejected)}
    if not files and not rejected:
        raise UserError(f"{folder} holds no video file ({', '.join(SUFFIXES)}); check the folder")
    rows = _rows_of_files(read_metadata(folder), files, rejected)
    sources = []
    for name, path in sorted(files.items()):
        try:
            sources.append(_source(folder, name, path, rows[name], settings))
        except RefusedError as refusal:
            rejected.append(Rejection(name, str(refusal)))
    return sources, rejected


def _video_files(folder: Path, rejected: list[Rejection]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_unreadable_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():  # which the walk does not follow
                name = path.relative_to(folder).as_posix()
                rejected.append(Rejection(name, "is a link to a folder; copy the folder here instead"))
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _unreadable_folder(error: OSError) -> NoReturn:
    raise UserError(
        f"the folder {error.filename} cannot be read ({error.strerror}); change its permissions or remove it"
    )


def _rows_of_files(rows: list[Row], files: dict[str, Path], rejected: list[Rejection]) -> dict[str, list[Row]]:
    """Which rows belong to each file: `file_name` is a path inside the folder, or inside its folder `videos`."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        name = os.path.normpath(row.file_name).replace(os.sep, "/")
        if name.startswith(("../", "/")):
            rejected.append(Rejection(row.file_name, f"{row.where} names it, but it lies outside the folder"))
        elif name in files:
            found[name].append(row)
        elif f"videos/{name}" in files:
            found[f"videos/{name}"].append(row)
        else:
            rejected.append(Rejection(row.file_name, f"{row.where} names it, but there is no such video file"))
    return found


def _source(folder: Path, name: str, path: Path, rows: list[Row], settings: IngestSettings) -> Source:
    """Raises RefusedError."""
    _stay_inside(path, folder)
    if len(rows) > 1:
        raise RefusedError(f"is named more than once ({', '.join(row.where for row in rows)}); keep one row")
    row = rows[0] if rows else Row(where="", file_name=name, caption=None, source=None, licence=None)
    caption = row.caption or _caption_beside(path, folder) or settings.caption
    if caption is None:
        raise RefusedError(
            f"has no caption; add a row to metadata.csv, a file {path.with_suffix('.txt').name} beside it, "
            "or set caption for all files without one"
        )
    return Source(path, name, caption, row.source or settings.source, row.licence or settings.licence)


def _caption_beside(path: Path, folder: Path) -> str | None:
    text = path.with_suffix(".txt")
    if not text.is_file():
        return None
    _stay_inside(text, folder)
    try:
        return text.read_text(encoding="utf-8-sig").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"its caption file {text.name} cannot be read ({error}); save it as UTF-8 text") from error


def _stay_inside(path: Path, folder: Path) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(f"{path.name} is a link out of the folder; copy the file into it")
