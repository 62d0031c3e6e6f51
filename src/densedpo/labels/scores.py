"""Scores that were had once, kept in the project's cache: another tie band then costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

from densedpo.errors import UserError
from densedpo.files import disk_full_is_clear
from densedpo.judges.scorers import DeclinedError, Scorer, ScorerError, Shown
from densedpo.store.project import Project
from densedpo.store.schema import content_id

GIVE_UP = 3  # breakdowns in a row, without an answer between them: then it is the scorer, not the videos


class RememberedScores:
    """Asks `scorer` once for each thing and writes every answer down at once, as a line of JSON."""

    def __init__(self, project: Project, scorer: Scorer, score: str) -> None:
        identity = content_id("scores", scorer.about.name, scorer.version, score)
        self._scorer = scorer
        self._path: Path = project.cache_folder("reward-scores") / f"{identity}.jsonl"
        self._known = _read(self._path)
        self._failures_in_a_row = 0
        self.asked = 0

    def score(self, media: str, shown: Shown) -> float:
        """The number for these frames of the file with digest `media`, more being better.

        Raises ScorerError if this one has none, UserError if the scorer broke down several times in a row.
        """
        key = content_id(media, shown.first_frame, shown.end_frame, shown.caption, shown.fps)
        if key not in self._known:
            self.asked += 1
            try:
                self._known[key] = self._scorer.about.sign * self._scorer.score(shown)
            except DeclinedError:
                self._failures_in_a_row = 0
                raise
            except ScorerError as error:
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= GIVE_UP:
                    raise UserError(
                        f"{error}; that was breakdown number {GIVE_UP} in a row, so nothing more was asked; mend the "
                        "scorer and run the same command again, what was scored is kept"
                    ) from None
                raise
            self._failures_in_a_row = 0
            self._append({"key": key, "score": self._known[key]})
        return self._known[key]

    def _append(self, line: dict[str, object]) -> None:
        with disk_full_is_clear(self._path), self._path.open("ab+") as file:
            end = file.seek(0, 2)
            cut_off = end and (file.seek(end - 1), file.read(1))[1] != b"\n"  # somebody was killed while writing
            file.write(b"\n" * bool(cut_off) + json.dumps(line).encode() + b"\n")


def _read(path: Path) -> dict[str, float]:
    """The scores by key; a line that was cut off is passed over, its score is asked for again."""
    known: dict[str, float] = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            try:
                values = json.loads(line)
                known[values["key"]] = float(values["score"])
            except (ValueError, TypeError, KeyError):
                continue
    return known
