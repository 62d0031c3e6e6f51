"""The project folder: open it, add rows, iterate over them, adopt files, lock a stage."""

import contextlib
import errno
import hashlib
import itertools
import os
import re
import socket
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import filelock
import sqlalchemy as sa
from pydantic import Field

from densedpo.chunks import chunks
from densedpo.config import Settings, dump_settings, load_settings
from densedpo.errors import UserError
from densedpo.files import copy_atomic, disk_full_is_clear, file_digest, put_in_place, write_text_atomic
from densedpo.store import database as db
from densedpo.store import schema, tables
from densedpo.store.schema import Clip, Event, FileKind, Label, Pair, Row
from densedpo.store.tables import content_of, differing, values_of

BATCH = 500  # rows per statement
SETTINGS_FILE = "project.yaml"
_LATER = tables.label.alias()
_STANDS = ~sa.exists().where(_LATER.c.supersedes == tables.label.c.id)  # made once: making an alias is slow
SUFFIXES: dict[FileKind, str] = {"media": ".mp4", "latents": ".safetensors"}

R = TypeVar("R", Clip, Pair, Label, Event)


class ProjectSettings(Settings):
    """What the clips and pairs of a project share, if they are not ingested otherwise. Written once, to project.yaml.

    All have the same frames a second; frames and size are those of clips for which `ingest` was told no others.
    """

    model: str = Field(default="tinyworld", description="tinyworld, a diffusers folder, or a hub id (owner/name).")
    width: int = Field(default=48, gt=0, description="Width of clips, in pixels.")
    height: int = Field(default=48, gt=0, description="Height of clips, in pixels.")
    frames: int = Field(default=33, gt=0, description="Frames of clips.")
    fps: float = Field(default=8.0, gt=0, description="Frames a second of all clips.")
    segment_seconds: float = Field(default=1.0, gt=0, description="Seconds that one label covers.")
    database: str | None = Field(
        default=None, description="URL of a PostgreSQL server; project.db in the folder if not given."
    )


class Project:
    """A folder and its database. Safe to share between threads and to use after a fork."""

    def __init__(self, root: Path, settings: ProjectSettings, engine: sa.Engine) -> None:
        """Use `Project.create` or `Project.open`."""
        self.root = root
        self.settings = settings
        self._engine = engine

    @classmethod
    def create(cls, root: Path, settings: ProjectSettings, database: str | None = None) -> Self:
        """Make a project, or open the one at `root` if its settings are the same.

        Raises UserError if a project with other settings is there, or if the database cannot be used.
        """
        if database is not None:
            settings = settings.model_copy(update={"database": database})
        if (root / SETTINGS_FILE).exists():
            return cls._open_same(root, settings)
        root.mkdir(parents=True, exist_ok=True)
        engine = db.connect(root, settings.database)
        db.migrate(engine, settings.database or str(root))
        write_text_atomic(root / SETTINGS_FILE, dump_settings(settings))  # last: its presence means a whole project
        return cls(root, settings, engine)

    @classmethod
    def _open_same(cls, root: Path, settings: ProjectSettings) -> Self:
        project = cls.open(root)
        there, asked = project.settings.model_dump(), settings.model_dump()
        differing = [f"{key} ({there[key]} there, {asked[key]} asked)" for key in there if there[key] != asked[key]]
        if differing:
            raise UserError(
                f"{root} is already a project with other settings: {', '.join(differing)}; "
                "choose another folder or leave the settings as they are"
            )
        return project

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the project at `root`; tables made by an older densedpo are brought up to date.

        Raises UserError if there is no project, its database is missing or a newer densedpo made it.
        """
        if not (root / SETTINGS_FILE).exists():
            raise UserError(f"{root} is no densedpo project (it has no {SETTINGS_FILE}); make one with `densedpo init`")
        settings = load_settings(ProjectSettings, root / SETTINGS_FILE, {})
        if settings.database is None and not (root / "project.db").exists():
            raise UserError(f"{root / 'project.db'} is missing; put it back from a backup, it holds all rows")
        engine = db.connect(root, settings.database)
        db.migrate(engine, settings.database or str(root))
        return cls(root, settings, engine)

    @contextlib.contextmanager
    def keeping_connections(self) -> Iterator[Self]:
        """This project with connections that stay open: for a server of many threads, not to be forked."""
        engine = db.connect(self.root, self.settings.database, keep=True)
        try:
            yield type(self)(self.root, self.settings, engine)
        finally:
            engine.dispose()

    def clips(self, split: str | None = None) -> Iterator[Clip]:
        """The clips in id order, of one split or all."""
        return self._iterate(Clip, _equal(tables.clip.c.split, split))

    def pairs(self, split: str | None = None, mode: str | None = None) -> Iterator[Pair]:
        """The pairs in id order, of one split and mode or all."""
        return self._iterate(Pair, _equal(tables.pair.c.split, split), _equal(tables.pair.c.mode, mode))

    def labels(
        self, pair: str | None = None, annotator: str | None = None, superseded: bool = False
    ) -> Iterator[Label]:
        """The labels in id order, of one pair and annotator or all; superseded ones only if asked for."""
        where = [_equal(tables.label.c.pair, pair), _equal(tables.label.c.annotator, annotator)]
        return self._iterate(Label, *where, *([] if superseded else [_STANDS]))

    def labels_of(self, pairs: Sequence[str]) -> dict[str, list[Label]]:
        """The standing labels of at most `BATCH` pairs, by pair."""
        label = tables.label
        found: dict[str, list[Label]] = {pair: [] for pair in pairs}
        query = sa.select(label).where(label.c.pair.in_(pairs), _STANDS).order_by(label.c.id)
        with db.clear_errors(self.place), self._engine.begin() as connection:
            for row in connection.execute(query).mappings():
                found[row["pair"]].append(Label(**row))
        return found

    def by_id(self, kind: type[R], ids: Collection[str]) -> dict[str, R]:
        """Rows of one kind with these ids; an unknown id is missing."""
        table = tables.metadata.tables[kind.table]
        found: dict[str, R] = {}
        with db.clear_errors(self.place), self._engine.begin() as connection:
            for part in chunks(list(ids), BATCH):
                rows = connection.execute(sa.select(table).where(table.c.id.in_(part))).mappings()
                found |= {row["id"]: kind(**row) for row in rows}
        return found

    def events(self) -> Iterator[Event]:
        """The audit log in id order; sort by `time` for a story."""
        return self._iterate(Event)

    def _iterate(self, kind: type[R], *where: sa.ColumnElement[bool]) -> Iterator[R]:
        """Rows in id order, a batch at a time; no transaction stays open while the caller works on a batch."""
        table = tables.metadata.tables[kind.table]
        last = ""
        while True:
            query = sa.select(table).where(table.c.id > last, *where).order_by(table.c.id).limit(BATCH)
            with db.clear_errors(self.place), self._engine.begin() as connection:
                rows = [kind(**row) for row in connection.execute(query).mappings()]
            yield from rows
            if len(rows) < BATCH:
                return
            last = rows[-1].id

    def add_clips(self, rows: Iterable[Clip]) -> int:
        """Add clips in one transaction; as `add`."""
        return self.add(rows)

    def add_pairs(self, rows: Iterable[Pair]) -> int:
        """Add pairs in one transaction; as `add`."""
        return self.add(rows)

    def add_labels(self, rows: Iterable[Label]) -> int:
        """Add labels in one transaction; as `add`."""
        return self.add(rows)

    def add(self, rows: Iterable[R]) -> int:
        """Add rows of one kind, all or none; return how many are new. A row that is there already is passed over.

        Raises UserError if a row of that id with other content is there, or if a row refers to one that is not.
        """
        rows = list(rows)  # before the transaction: whatever makes the rows may be slow, or write rows of its own
        if not rows:
            return 0
        added = 0
        with db.clear_errors(self.place), db.writing(self._engine, rows[0].table) as connection:
            for start in range(0, len(rows), BATCH):
                new, clashes = self.compare(rows[start : start + BATCH], connection)
                if clashes:
                    raise UserError(_clash_message(*clashes[0], self.place))
                if new:
                    connection.execute(sa.insert(tables.metadata.tables[new[0].table]), [values_of(row) for row in new])
                added += len(new)
        return added

    def compare(self, rows: Sequence[R], connection: sa.Connection | None = None) -> tuple[list[R], list[tuple[R, R]]]:
        """Of at most `BATCH` rows of one kind: those that are not here yet, and those that clash, as (here, given)."""
        if connection is None:
            with db.clear_errors(self.place), self._engine.begin() as reading:
                return self.compare(rows, reading)
        kind, table = type(rows[0]), tables.metadata.tables[rows[0].table]
        query = sa.select(table).where(table.c.id.in_([row.id for row in rows]))
        here = {found["id"]: kind(**found) for found in connection.execute(query).mappings()}
        new: list[R] = []
        clashes: list[tuple[R, R]] = []
        for row in rows:
            twin = here.setdefault(row.id, row)
            if twin is row:
                new.append(row)
            elif content_of(twin) != content_of(row):
                clashes.append((twin, row))
        return new, clashes

    def record(self, kind: str, **detail: Any) -> None:
        """Append an event to the audit log; `detail` must be plain JSON."""
        self.add([Event(id=uuid.uuid4().hex, time=schema.utc_now(), kind=kind, detail=detail)])

    def fingerprint(self) -> str:
        """32 hex characters over all clips, pairs and labels, whenever they were made and wherever they are stored."""
        state = hashlib.sha256()
        for row in itertools.chain[Row](self.clips(), self.pairs(), self.labels(superseded=True)):
            state.update(f"{row.table} {content_of(row)}\n".encode())
        return state.hexdigest()[:32]

    def adopt(self, path: Path, kind: FileKind = "media") -> str:
        """Move a finished file to its place by content and return its SHA-256; `path` is gone afterwards.

        Adopting the same content again changes nothing. Raises UserError when the disk is full; `path` then remains.
        """
        digest = file_digest(path)
        target = self.file_path(kind, digest)
        with disk_full_is_clear(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                put_in_place(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                copy_atomic(path, target)  # from another file system
                path.unlink()
        return digest

    def file_path(self, kind: FileKind, digest: str) -> Path:
        """Where the media or latents file with this SHA-256 is, or would be."""
        return self.root / kind / digest[:2] / (digest + SUFFIXES[kind])

    def media_path(self, digest: str) -> Path:
        """Where the video with this SHA-256 is, or would be."""
        return self.file_path("media", digest)

    def latents_path(self, digest: str) -> Path:
        """Where the latents with this SHA-256 are, or would be."""
        return self.file_path("latents", digest)

    def run_folder(self, name: str) -> Path:
        """The folder of a run, made if absent. Raises UserError for a name that is no plain folder name."""
        return self._folder("runs", name)

    def cache_folder(self, name: str) -> Path:
        """A folder for what can be made again, made if absent. Raises UserError as `run_folder`."""
        return self._folder("cache", name)

    def _folder(self, parent: str, name: str) -> Path:
        folder = self.root / parent / _plain(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self, stage: str) -> Iterator[None]:
        """Be the only process in `stage` of this project. The lock of a process that died is free.

        Raises UserError naming the other process if there is one.
        """
        path = self.root / "locks" / f"{_plain(stage)}.lock"
        path.parent.mkdir(exist_ok=True)
        holder = path.with_suffix(".holder")
        lock = filelock.FileLock(path, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(
                f"{stage} is already running in {self.root} ({_holder(holder)}); wait for it to end, or stop it first"
            ) from None
        try:
            write_text_atomic(holder, f"process {os.getpid()} on {socket.gethostname()}, since {schema.utc_now()}")
            yield
        finally:
            lock.release()

    @property
    def place(self) -> str:
        """What messages call the database."""
        return self.settings.database or str(self.root)


def _equal(column: sa.Column[str], value: str | None) -> sa.ColumnElement[bool]:
    return sa.true() if value is None else column == value


def _holder(path: Path) -> str:
    return path.read_text() if path.exists() else "another process"


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} cannot name a folder; use letters, digits, dots, dashes and underscores")
    return name


def _clash_message(here: Row, given: Row, place: str) -> str:
    """What to tell someone who adds a row whose id is taken."""
    remedy = "correct a label by adding one that supersedes it" if isinstance(here, Label) else "nothing was added"
    return f"{here.table} {here.id} is already in {place} with another {', '.join(differing(here, given))}; {remedy}"
