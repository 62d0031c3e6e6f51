"""An evaluation's folder on disk: what was asked, what it was made from, and the scores so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from densedpo.config import dump_settings, read_yaml
from densedpo.errors import UserError
from densedpo.evaluation.sampling import Shot
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.files import write_text_atomic

KIND = "evaluation"
MUST_AGREE = {"prompts_hash": "the prompts", "model_hash": "the model", "vae_hash": "the model's autoencoder"}
Score = dict[str, Any]  # a line of scores.jsonl


class Record:
    """Goes on with the evaluation in `folder`, or begins it there. Every file is whole at any moment."""

    def __init__(
        self, folder: Path, contestants: Sequence[str], settings: EvaluateSettings, facts: dict[str, Any]
    ) -> None:
        """`facts` go into run.json: the hashes of `MUST_AGREE`, `adapters` (run → digest), and whatever helps.

        The scores of a contestant whose adapter has changed since are dropped; `redone` names it. Raises UserError if
        the folder holds a training run, or an evaluation that was asked or made differently.
        """
        self._folder = folder
        self._contestants = list(contestants)
        self._facts = facts
        before = json.loads(self._description.read_text("utf-8")) if self._description.exists() else {}
        _check_same(folder, settings, before, facts)
        adapters, known = facts["adapters"], before.get("adapters", {})
        self.redone = tuple(name for name in adapters if known.get(name, adapters[name]) != adapters[name])
        self.seconds = float(before.get("seconds", 0.0))
        rows = [row for row in self._read() if row["contestant"] not in self.redone]
        self._rows = {(row["contestant"], row["prompt_index"], row["seed"]): row for row in rows}
        if self.redone:
            self._write_scores()  # before run.json, so that a stop in between forgets nothing
        if self.redone or not before:
            self._write_facts()
        if not (folder / "settings.yaml").exists():
            write_text_atomic(folder / "settings.yaml", dump_settings(settings))

    def has(self, contestant: str, shot: Shot) -> bool:
        """Whether the shot is scored and its video there."""
        scored = (contestant, shot.prompt_index, shot.seed) in self._rows
        return scored and (self._folder / video_name(contestant, shot)).exists()

    def add(self, contestant: str, scored: Sequence[tuple[Shot, dict[str, float]]], seconds: float) -> None:
        """Take in scores of shots whose videos are written; making all that took `seconds`."""
        for shot, scores in scored:
            row = {"contestant": contestant, **asdict(shot), "video": video_name(contestant, shot), "scores": scores}
            self._rows[contestant, shot.prompt_index, shot.seed] = row
        self.seconds += seconds
        self._write_scores()
        self._write_facts()

    def scores(self) -> list[Score]:
        """All lines: contestant after contestant in the order given, by prompt, by seed."""
        place = self._contestants.index
        return [self._rows[key] for key in sorted(self._rows, key=lambda key: (place(key[0]), *key[1:]))]

    @property
    def _description(self) -> Path:
        return self._folder / "run.json"

    def _read(self) -> Iterator[Score]:
        path = self._folder / "scores.jsonl"
        for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg}); remove the line") from error

    def _write_scores(self) -> None:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.scores())
        write_text_atomic(self._folder / "scores.jsonl", "".join(lines))

    def _write_facts(self) -> None:
        facts = {"kind": KIND, **self._facts, "seconds": self.seconds}
        write_text_atomic(self._description, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def video_name(contestant: str, shot: Shot) -> str:
    """Where the video is inside the evaluation's folder."""
    return f"clips/{contestant}/{shot.prompt_index:04d}-{shot.seed}.mp4"


def _check_same(folder: Path, settings: EvaluateSettings, before: dict[str, Any], facts: dict[str, Any]) -> None:
    if not (folder / "settings.yaml").exists():
        return
    if before.get("kind") != KIND:
        raise UserError(f"{folder} is a run of another kind; give this evaluation another --name")
    there, asked = read_yaml(folder / "settings.yaml"), settings.model_dump(mode="json", exclude={"prompts"})
    changed = [f"{key} ({there.get(key)} there, {asked[key]} asked)" for key in asked if there.get(key) != asked[key]]
    changed += [word for key, word in MUST_AGREE.items() if before.get(key) != facts[key]]
    if changed:
        raise UserError(
            f"{folder} was made with other settings: {', '.join(changed)}; "
            "give this evaluation another --name, or ask the same again"
        )
