"""Finished clips from anywhere: which file is whose take of which shot."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from densedpo.errors import UserError
from densedpo.evaluation.shots import Shot

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".ogv", ".ts", ".m4v"}
CAPTIONS = ("caption", "prompt", "text")  # columns of a metadata file

Takes = dict[Shot, Path]


@dataclass(frozen=True)
class Matched:
    """Shots, each with its caption (None: unknown), and every contestant's file for each."""

    shots: list[Shot]
    captions: dict[Shot, str | None]
    takes: dict[str, Takes]


def match_to_prompts(
    folders: Mapping[str, Path], prompts: Sequence[str], count: int | None, wanted: Sequence[Shot] | None = None
) -> Matched:
    """Match files named `PPPP-S` (number of the prompt from 0, seed) or `PROMPT-S`, as VBench names them.

    A file without `-S` is seed 0. The shots are `wanted`, or all that any folder has of the first `count` prompts.
    Raises UserError for a file that belongs to no prompt, two files for one shot, and shots that a contestant lacks.
    """
    index = {_plain(prompt): number for number, prompt in enumerate(prompts)}
    takes: dict[str, Takes] = {}
    for name, folder in folders.items():
        takes[name] = {}
        for file in _clips(folder):
            number, seed = _place(file, index, len(prompts))
            shot = Shot(prompts[number], number, seed)
            if shot in takes[name]:
                raise UserError(
                    f"{file} and {takes[name][shot].name} are both seed {seed} of prompt {number}; keep one"
                )
            if count is None or number < count:
                takes[name][shot] = file
    there = {shot for found in takes.values() for shot in found}
    shots = sorted(there, key=lambda shot: (shot.prompt_index, shot.seed)) if wanted is None else list(wanted)
    _check_complete(takes, shots, folders)
    needed = {name: {shot: found[shot] for shot in shots} for name, found in takes.items()}
    return Matched(shots, {shot: shot.prompt for shot in shots}, needed)


def match_by_name(folders: Mapping[str, Path], count: int | None) -> Matched:
    """Match files of equal name. Captions come from a metadata.csv or .jsonl in a folder, if there is one.

    Files whose names differ in a last `-S` only are seeds of one prompt. Raises UserError as `match_to_prompts`.
    """
    files = {name: {file.stem: file for file in _clips(folder)} for name, folder in folders.items()}
    told: dict[str, str] = {}
    for folder in folders.values():
        told |= _captions(folder)
    stems = sorted({stem for found in files.values() for stem in found})
    labels = {stem: told.get(stem) or _split(stem)[0] for stem in stems}
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels.values()))}
    seen: dict[str, int] = {}
    shots: dict[str, Shot] = {}
    for stem, label in labels.items():
        shots[stem] = Shot(label, numbers[label], seen.get(label, 0))
        seen[label] = shots[stem].seed + 1
    kept = {stem: shot for stem, shot in shots.items() if count is None or shot.prompt_index < count}
    takes = {name: {kept[stem]: file for stem, file in found.items() if stem in kept} for name, found in files.items()}
    ordered = sorted(kept.values(), key=lambda shot: (shot.prompt_index, shot.seed))
    _check_complete(takes, ordered, folders, {shot: stem for stem, shot in kept.items()})
    return Matched(ordered, {shot: told.get(stem) for stem, shot in kept.items()}, takes)


def find_references(folder: Path | None, matched: Matched, prompts: Sequence[str] | None) -> Takes:
    """The reference clip of each shot that has one: named as the shot's own files, or as its prompt without `-S`.

    Raises UserError for a folder in which no file matches.
    """
    if folder is None:
        return {}
    found: Takes = {}
    files = {_plain(file.stem): file for file in _clips(folder)}
    for shot in matched.shots:
        own = [take[shot].stem for take in matched.takes.values() if shot in take]
        names = [*own, *(_split(stem)[0] for stem in own), shot.stem, f"{shot.prompt_index:04d}"]
        names += [f"{shot.prompt}-{shot.seed}", shot.prompt] if prompts is not None else []
        file = next((files[name] for name in map(_plain, names) if name in files), None)
        if file is not None:
            found[shot] = file
    if not found:
        raise UserError(f"{folder} has no reference clip for any of the {len(matched.shots)} shots; name them alike")
    return found


def _check_complete(
    takes: Mapping[str, Takes],
    shots: Sequence[Shot],
    folders: Mapping[str, Path],
    names: Mapping[Shot, str] | None = None,
) -> None:
    """Raise UserError if a contestant lacks a shot; only what all have can be compared."""
    for name, found in takes.items():
        lacking = [names[shot] if names else shot.stem for shot in shots if shot not in found]
        if lacking:
            some = ", ".join(lacking[:3]) + (" and others" if len(lacking) > 3 else "")
            raise UserError(
                f"{folders[name]} ({name}) lacks {len(lacking)} of {len(shots)} clips: {some}; add them, or take them "
                "out of the other folders"
            )


def _clips(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the clips")
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in VIDEOS)
    if not files:
        raise UserError(f"{folder} holds no video files ({', '.join(sorted(VIDEOS))}); check the path")
    stems: dict[str, Path] = {}
    for file in files:
        if file.stem in stems:
            raise UserError(f"{folder} holds {stems[file.stem].name} and {file.name}; keep one of them")
        stems[file.stem] = file
    return files


def _place(file: Path, index: Mapping[str, int], prompts: int) -> tuple[int, int]:
    """(number of the prompt, seed) of a file."""
    front, seed = _split(file.stem)
    if re.fullmatch(r"\d+", front) and int(front) < prompts:
        return int(front), seed
    if _plain(file.stem) in index:
        return index[_plain(file.stem)], 0
    if _plain(front) in index:
        return index[_plain(front)], seed
    raise UserError(
        f"{file} belongs to none of the {prompts} prompts; name it by the prompt's number from 0 and a seed "
        "(0003-1.mp4), or by the prompt itself and a seed"
    )


def _split(stem: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+)-(\d{1,6})", stem)
    return (found[1], int(found[2])) if found else (stem, 0)


def _plain(text: str) -> str:
    """Text as far as file names keep it: systems and tools replace signs, and cut a final full stop."""
    return re.sub(r"[^\w]+|_+", " ", text.lower()).strip()


def _captions(folder: Path) -> dict[str, str]:
    """File stem → caption, from metadata.csv or metadata.jsonl; empty without one."""
    for file in (folder / "metadata.csv", folder / "metadata.jsonl"):
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8-sig")
            lines = [line for line in text.split("\n") if line.strip()]
            rows = list(csv.DictReader(io.StringIO(text))) if file.suffix == ".csv" else list(map(json.loads, lines))
            found = {Path(row["file_name"]).stem: next(row[key] for key in CAPTIONS if row.get(key)) for row in rows}
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise UserError(
                f"{file} cannot be read ({error!r}); it needs file_name and caption on each line"
            ) from error
        return {stem: str(caption) for stem, caption in found.items()}
    return {}
