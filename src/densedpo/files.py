"""Files that are either whole or absent: atomic writes, content digests, and a clear word when the disk is full."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from densedpo.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def disk_full_is_clear(path: Path) -> Iterator[None]:
    """Turn a full disk or an exhausted quota inside the block into a UserError naming `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UserError(f"the disk is full, so {path} was not written; free some space and run again") from error


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` so that a reader, or a crash, finds the old file or the new one, never a part.

    Raises UserError when the disk is full; `path` is then as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with disk_full_is_clear(path), _removed_on_failure(temporary):
        temporary.write_text(text, encoding="utf-8")
        put_in_place(temporary, path)


def temporary_beside(path: Path) -> Path:
    """A name in the folder of `path` that no other process or call uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to `path`, on the same file system, so that it survives a power cut."""
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def copy_atomic(source: Path, target: Path) -> None:
    """Give `target` the content of `source`: a hard link where the file system allows one, else a copy.

    Raises UserError when the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    with disk_full_is_clear(target), _removed_on_failure(temporary):
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        put_in_place(temporary, target)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
