"""Formats that know one verdict for a pair: VideoGen-RewardBench and prompt/chosen/rejected. Much is lost in them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from densedpo.store.consensus import ConsensusPolicy, consensus, global_consensus, majority_vote
from densedpo.store.exchange.opinions import written
from densedpo.store.people import reading
from densedpo.store.project import BATCH, Project
from densedpo.store.schema import Label, Pair
from densedpo.store.segments import segment_grid
from densedpo.store.tables import label, pair

REWARDBENCH_ASPECTS = {
    "VQ": "visual_quality",
    "MQ": "motion",
    "TA": "text_alignment",
    "Overall": "overall",
}
_WORDS = {1: "A", -1: "B", 0: "same"}
_COLUMNS = (
    *("path_A", "path_B", "A_model", "B_model", "prompt", *REWARDBENCH_ASPECTS),
    *("fps_A", "num_frames_A", "fps_B", "num_frames_B"),
)


@dataclass(frozen=True, slots=True)
class VerdictReport:
    """How many pairs a file holds, and what is not in it, in words."""

    pairs: int
    lost: list[str]


def export_rewardbench(project: Project, path: Path) -> VerdictReport:
    """Write the CSV of VideoGen-RewardBench, a line for each pair with a verdict on one of its four aspects.

    Paths are relative to the project's folder. Raises UserError as `export_opinions`.
    """
    tally: Counter[str] = Counter()

    def write(file: Path) -> int:
        with file.open("w", encoding="utf-8", newline="") as handle:
            lines = csv.DictWriter(handle, _COLUMNS)
            lines.writeheader()
            lines.writerows(_rewardbench_rows(project, tally))
        return tally["pairs"]

    return VerdictReport(written(path, write), _lost(tally))


def export_trl(project: Project, path: Path) -> VerdictReport:
    """Write JSON lines of prompt, chosen, rejected (paths relative to the project's folder), without ties.

    Raises UserError as `export_opinions`.
    """
    tally: Counter[str] = Counter()

    def write(file: Path) -> int:
        with file.open("w", encoding="utf-8", newline="\n") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _trl_rows(project, tally))
        return tally["pairs"]

    return VerdictReport(written(path, write), _lost(tally))


def _rewardbench_rows(project: Project, tally: Counter[str]) -> Iterator[dict[str, Any]]:
    for of, labels in _labelled(project, tally):
        verdicts = {word: _verdict(project, of, labels, aspect, tally) for word, aspect in REWARDBENCH_ASPECTS.items()}
        tally["of another aspect"] += sum(each.aspect not in REWARDBENCH_ASPECTS.values() for each in labels)
        if all(verdict is None for verdict in verdicts.values()):
            continue
        tally["pairs"] += 1
        models = of.recipe.get("models") if of.mode == "imported" else None
        models = models if isinstance(models, dict) else {}
        row: dict[str, Any] = {"prompt": of.prompt}
        for side, media in (("A", of.media_a), ("B", of.media_b)):
            row |= {f"path_{side}": _relative(project, media), f"{side}_model": models.get(side, of.model_hash)}
            row |= {f"fps_{side}": of.fps, f"num_frames_{side}": of.frames}
        yield row | {word: "" if verdict is None else _WORDS[verdict] for word, verdict in verdicts.items()}


def _trl_rows(project: Project, tally: Counter[str]) -> Iterator[dict[str, str]]:
    for of, labels in _labelled(project, tally):
        verdict = _verdict(project, of, labels, "overall", tally)
        tally["of another aspect"] += sum(each.aspect != "overall" for each in labels)
        if verdict == 0:
            tally["ties"] += 1
        if verdict:
            tally["pairs"] += 1
            chosen, rejected = (of.media_a, of.media_b) if verdict > 0 else (of.media_b, of.media_a)
            paths = {"chosen": _relative(project, chosen), "rejected": _relative(project, rejected)}
            yield {"prompt": of.prompt, **paths}


def _verdict(project: Project, of: Pair, labels: list[Label], aspect: str, tally: Counter[str]) -> int | None:
    """+1, -1 or 0 by the labels on the whole video; by the majority of segments if there are none; None without any."""
    policy = ConsensusPolicy(aspect=aspect)
    whole = global_consensus(labels, policy)
    by_segment = [each for each in labels if each.aspect == aspect and each.segment is not None]
    tally["on segments"] += len(by_segment)
    if whole is not None:
        return whole[0]
    if not by_segment:
        return None
    grid = segment_grid(of.frames, of.fps, project.settings.segment_seconds)
    found = consensus(by_segment, grid, policy)
    if not found.labelled.any():
        return None
    tally["verdicts by segments"] += 1
    tally["split between segments"] += len(np.unique(found.sign[found.labelled])) > 1
    return majority_vote(found)


def _labelled(project: Project, tally: Counter[str]) -> Iterator[tuple[Pair, list[Label]]]:
    """Each pair that has a standing label, in id order, with those labels."""
    has = sa.exists().where(label.c.pair == pair.c.id)
    last = ""
    while True:
        query = sa.select(pair).where(pair.c.id > last, has).order_by(pair.c.id).limit(BATCH)
        with reading(project) as connection:
            rows = [Pair(**row) for row in connection.execute(query).mappings()]
        labels = project.labels_of([row.id for row in rows])
        for row in rows:
            tally["labels"] += len(labels[row.id])
            if labels[row.id]:
                yield row, labels[row.id]
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _relative(project: Project, digest: str) -> str:
    return project.media_path(digest).relative_to(project.root).as_posix()


def _lost(tally: Counter[str]) -> list[str]:
    told = [
        (tally["ties"], "pairs are ties and are not in the file"),
        (tally["on segments"], "labels are on segments; the file has one verdict for the whole video"),
        (tally["verdicts by segments"], "verdicts are the majority of segments, as nobody judged the whole video"),
        (tally["split between segments"], "of these differ from segment to segment"),
        (tally["of another aspect"], "labels are on aspects that the format has no place for"),
    ]
    lost = [f"{count} {words}" for count, words in told if count]
    return [*lost, f"{tally['labels']} labels became {tally['pairs']} lines: who gave them and how sure is not told"]
