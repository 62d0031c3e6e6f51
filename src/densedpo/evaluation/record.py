"""An evaluation's folder on disk: what was asked, what it was made from, and the scores so far."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from densedpo.config import dump_settings, read_yaml
from densedpo.errors import UserError
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.evaluation.shots import Shot
from densedpo.files import write_text_atomic

KIND = "evaluation"
MUST_AGREE = {
    "contestants": "the contestants",
    "prompts_hash": "the prompts",
    "model_hash": "the model",
    "vae_hash": "the model's autoencoder",
}
# Of how the model was loaded; quantisation and tiles are in the hashes, and an adapter knows its expert.
LOADED_THE_SAME = ("dtype", "attention")
# These change no video: another value is measured, compared or placed anew.
FREE = {"prompts", "videos", "reference", "shard", "metrics", "weights", "reward", "workers", "motion_margin"}
SECONDS = 10.0  # between two writings of all scores

Score = dict[str, Any]  # a line of scores.jsonl


class Record:
    """Goes on with the evaluation in `folder`, or begins it there. Every file is whole at any moment."""

    def __init__(self, folder: Path, settings: EvaluateSettings, facts: dict[str, Any], shard: bool = False) -> None:
        """`facts` go into run.json: those of `MUST_AGREE`, `sources` (contestant → digest), and whatever helps.

        The videos and scores of a contestant whose source has changed since are dropped; `redone` names it. A shard
        only makes videos beside others, so it drops nothing. Raises UserError if the folder holds a training run, an
        evaluation that was asked or made differently, or, for a shard, a contestant that has changed.
        """
        self.folder = folder
        self._contestants: list[str] = list(facts["contestants"])
        before = json.loads(self._description.read_text("utf-8")) if self._description.exists() else {}
        self._facts = {"weights": before.get("weights", {}), **facts}  # what was measured, and so still holds
        _check_same(folder, settings, before, facts)
        # Evaluations of earlier versions call the digests `adapters`.
        sources, known = facts["sources"], before.get("sources", before.get("adapters", {}))
        self.redone = tuple(name for name in sources if known.get(name, sources[name]) != sources[name])
        if shard and self.redone:
            raise UserError(
                f"{', '.join(self.redone)} has changed since {folder} was begun; run once without --shard, "
                "or give this evaluation another --name"
            )
        self._seconds = float(before.get("seconds", 0.0))
        rows = [row for row in self._read() if row["contestant"] not in self.redone]
        self._rows = {(row["contestant"], row["prompt_index"], row["seed"]): row for row in rows}
        self._saved = time.monotonic()
        if self.redone:
            self._drop_redone()
        if self.redone or not before:
            self._write_facts()
        if not (folder / "settings.yaml").exists():
            write_text_atomic(folder / "settings.yaml", dump_settings(settings))

    def video(self, contestant: str, shot: Shot) -> Path | None:
        """The shot's video, if it is there."""
        usual = self.place(contestant, shot)
        return usual if usual.exists() else next(usual.parent.glob(f"{shot.stem}.*"), None)

    def place(self, contestant: str, shot: Shot, suffix: str = ".mp4") -> Path:
        """Where the shot's video belongs."""
        return self.folder / "clips" / contestant / f"{shot.stem}{suffix}"

    def forget(self, contestant: str, shots: Sequence[Shot], seconds: float) -> None:
        """Drop the scores of shots whose videos were made anew, which took `seconds`."""
        dropped = [self._rows.pop((contestant, shot.prompt_index, shot.seed), None) for shot in shots]
        self._seconds += seconds
        if any(dropped):
            self._write_scores()
        self._write_facts()

    def forget_metrics(self, changed: Collection[str]) -> None:
        """Drop what these metrics said, because their weights have changed."""
        for row in self._rows.values():
            for part in {"scores", "unmeasured"} & row.keys():
                row[part] = {name: value for name, value in row[part].items() if name not in changed}

    def lacking(self, contestant: str, shot: Shot, metrics: Collection[str]) -> list[str]:
        """The metrics that were not tried on the shot's video yet."""
        row = self._rows.get((contestant, shot.prompt_index, shot.seed), {})
        tried = {**row.get("scores", {}), **row.get("unmeasured", {})}
        return [name for name in metrics if name not in tried]

    def add(self, contestant: str, shot: Shot, scores: Mapping[str, float], unmeasured: Mapping[str, str]) -> None:
        """Take in what metrics say of one video; written at least every ten seconds, and by `save`."""
        video = self.video(contestant, shot)
        assert video is not None, f"{contestant} {shot} was scored without a video"
        key = (contestant, shot.prompt_index, shot.seed)
        row = self._rows.setdefault(
            key,
            {
                "contestant": contestant,
                **asdict(shot),
                "video": video.relative_to(self.folder).as_posix(),
                "scores": {},
            },
        )
        row["scores"] = {**row["scores"], **scores}
        missed = {**row.get("unmeasured", {}), **unmeasured}
        if missed:
            row["unmeasured"] = missed
        if time.monotonic() - self._saved > SECONDS:
            self.save()

    def save(self, seconds: float = 0.0, **facts: Any) -> None:
        """Write all scores; `seconds` more were spent, and `facts` join run.json."""
        self._seconds += seconds
        self._facts |= facts
        self._write_scores()
        self._write_facts()
        self._saved = time.monotonic()

    def scores(self) -> list[Score]:
        """All lines: contestant after contestant in the order given, by prompt, by seed."""
        order = self._contestants.index
        return [self._rows[key] for key in sorted(self._rows, key=lambda key: (order(key[0]), *key[1:]))]

    def fact(self, name: str) -> Any:
        """What run.json has said under this name before; None if nothing."""
        return json.loads(self._description.read_text("utf-8")).get(name)

    @property
    def _description(self) -> Path:
        return self.folder / "run.json"

    def _drop_redone(self) -> None:
        """Scores first and run.json last, so that a stop in between forgets nothing."""
        self._write_scores()
        for name in self.redone:
            shutil.rmtree(self.folder / "clips" / name, ignore_errors=True)

    def _read(self) -> Iterator[Score]:
        path = self.folder / "scores.jsonl"
        for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg}); remove the line") from error

    def _write_scores(self) -> None:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.scores())
        write_text_atomic(self.folder / "scores.jsonl", "".join(lines))

    def _write_facts(self) -> None:
        facts = {"kind": KIND, **self._facts, "seconds": self._seconds}
        write_text_atomic(self._description, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _check_same(folder: Path, settings: EvaluateSettings, before: dict[str, Any], facts: dict[str, Any]) -> None:
    if not (folder / "settings.yaml").exists():
        return
    if before.get("kind") != KIND:
        raise UserError(f"{folder} is a run of another kind; give this evaluation another --name")
    there, asked = read_yaml(folder / "settings.yaml"), settings.model_dump(mode="json", exclude=FREE)
    # A setting that an earlier version did not have had its default; all of them drew with Euler.
    there = {"sampler": "euler", **there} if before.get("model_hash") else there
    there = {"guidance_2": asked["guidance_2"], **there}  # and did not say the second expert's guidance
    before_it = {key: there.get(key, EvaluateSettings.model_fields[key].default) for key in asked}
    changed = [f"{key} ({before_it[key]} there, {asked[key]} asked)" for key in asked if before_it[key] != asked[key]]
    loading = facts.get("loading", {})
    loaded = loading | before.get("loading", {})  # earlier versions do not say how
    changed += [
        f"{key} ({loaded[key]} there, {loading[key]} asked)"
        for key in LOADED_THE_SAME
        if loaded.get(key) != loading.get(key)
    ]
    changed += [word for key, word in MUST_AGREE.items() if before.get(key, facts[key]) != facts[key]]
    if changed:
        raise UserError(
            f"{folder} was made with other settings: {', '.join(changed)}; "
            "give this evaluation another --name, or ask the same again"
        )
