"""An evaluation: contestants make or bring videos of the same shots, each is scored, and the scores are compared."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import densedpo
from densedpo.chunks import chunks
from densedpo.errors import UserError
from densedpo.evaluation.folders import Matched, find_references, match_by_name, match_to_prompts
from densedpo.evaluation.judged import judged
from densedpo.evaluation.measuring import Scene, measure
from densedpo.evaluation.prompts import read_prompts
from densedpo.evaluation.record import Record
from densedpo.evaluation.results import compare, write_results
from densedpo.evaluation.settings import EvaluateSettings
from densedpo.evaluation.shots import Shot, named, named_places, share_of
from densedpo.files import copy_atomic, file_digest
from densedpo.metrics import Asked, Tools, find_metrics, runnable
from densedpo.metrics.reward import closing_all, reward_metrics
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project
from densedpo.store.schema import content_id

if TYPE_CHECKING:
    from densedpo.evaluation.making import Makers


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation: `sampled` videos were made now, `known` were there or brought, `scored` looked at.

    `redone` names the contestants that had changed since, so that their videos were made anew. `means` holds each
    contestant's mean of each metric over prompts, `not_run` why a metric has none; `results` is the file with intervals
    and comparisons, None for a shard.
    """

    folder: Path
    contestants: tuple[str, ...]
    prompts: int
    sampled: int
    known: int
    scored: int
    redone: tuple[str, ...]
    means: dict[str, dict[str, float]]
    not_run: dict[str, str]
    results: Path | None


def evaluate(project: Project, settings: EvaluateSettings, loading: LoadSettings | None = None) -> EvaluationResult:
    """Compare contestants in `runs/NAME`. Stopped and called again, it goes on, to equal scores.

    Contestants are the base model and training runs, folders of clips (`videos`), or both; the first is the baseline.
    With `shard`, only that part of the videos is made and nothing is scored.

    Raises:
        UserError: no contestant; prompts, folders or weights that do not fit; a video that cannot be decoded; the
            folder holds another run, or this one made differently.
    """
    folders = named_places(settings.videos or (), "--videos")
    tools = Tools(named_places(settings.weights or (), "--weights"))
    rewards = reward_metrics(named(settings.reward or (), "--reward"))
    part = f"-{settings.shard.replace('/', 'of')}" if settings.shard else ""
    share_of([], settings.shard)  # a part that cannot be is refused before anything is loaded
    with project.lock(f"evaluate-{settings.name}{part}"):
        makers, prompts, matched, settings = _contest(project, settings, folders, loading)
        contestants = (*(makers.contestants if makers else ()), *folders)
        asked = Asked(list(matched.captions.values()), settings.reference is not None, len(contestants) > 1)
        metrics, not_run = runnable({**find_metrics(), **rewards}, settings.metrics, tools, asked)
        references = find_references(settings.reference, matched, prompts)
        facts = _facts(project, makers, contestants, matched)
        record = Record(project.run_folder(settings.name), settings, facts, shard=settings.shard is not None)
        sampled, known = _gather(record, makers, matched, settings)
        scored, file = 0, None
        results = compare(record.scores(), contestants, metrics, not_run, settings.motion_margin)
        if settings.shard is None:
            scene = Scene(contestants, matched.shots, matched.captions, references)
            with closing_all(rewards):
                scored = measure(record, scene, metrics, tools, settings.workers)
            results = compare(record.scores(), contestants, metrics, not_run, settings.motion_margin)
            results["head_to_head"] |= judged(record.folder, record.scores(), contestants)
            file = write_results(record.folder / "results.json", results)
    means = {name: {key: cell["mean"] for key, cell in row.items()} for name, row in results["table"].items()}
    count = len({shot.prompt_index for shot in matched.shots})
    told = (record.redone, means, not_run, file)
    return EvaluationResult(record.folder, contestants, count, sampled, known, scored, *told)


def _gather(record: Record, makers: Makers | None, matched: Matched, settings: EvaluateSettings) -> tuple[int, int]:
    """Make or take in what this part lacks; returns how many videos were made, and how many were there or brought.

    Batches are cut from the whole list, never from what happens to be left, so that a restart computes the same bits.
    """
    own = makers.contestants if makers else ()
    batches = [(name, batch) for name in own for batch in chunks(matched.shots, settings.batch)]
    mine = share_of(batches, settings.shard)
    todo = [(name, batch) for name, batch in mine if any(record.video(name, shot) is None for shot in batch)]
    if makers:
        makers.make(record, todo)
    brought = [(name, shot, file) for name, found in matched.takes.items() for shot, file in found.items()]
    brought = share_of(brought, settings.shard)
    for name, shot, file in brought:
        if record.video(name, shot) is None:
            copy_atomic(file, record.place(name, shot, file.suffix))
    sampled = sum(len(batch) for _, batch in todo)
    return sampled, sum(len(batch) for _, batch in mine) - sampled + len(brought)


def _contest(
    project: Project, settings: EvaluateSettings, folders: dict[str, Path], loading: LoadSettings | None
) -> tuple[Makers | None, list[str] | None, Matched, EvaluateSettings]:
    """Who makes videos (nobody, if only folders compete), the prompts if known, the shots, and settings filled in."""
    if folders and settings.runs is None:
        if settings.prompts is None:
            return None, None, match_by_name(folders, settings.count), settings
        prompts = read_prompts(settings.prompts, project.settings.model, None, settings.dimension)
        return None, prompts, match_to_prompts(folders, prompts, settings.count), settings
    prompts = read_prompts(settings.prompts, project.settings.model, None, settings.dimension)
    used = read_prompts(settings.prompts, project.settings.model, settings.count, settings.dimension)
    shots = [Shot(p, index, seed) for index, p in enumerate(used) for seed in range(settings.seeds_per_prompt)]
    matched = match_to_prompts(folders, prompts, settings.count, shots)
    from densedpo.evaluation.making import find_makers  # loads torch

    makers, settings = find_makers(project, settings, loading=loading)
    twice = set(makers.contestants) & set(folders)
    if twice:
        raise UserError(f"--videos {', '.join(twice)} has the name of another contestant; give it another name")
    return makers, prompts, matched, settings.model_copy(update={"count": len(used)})


def _facts(project: Project, makers: Makers | None, contestants: Sequence[str], matched: Matched) -> dict[str, Any]:
    brought = {
        name: content_id([[shot.stem, file_digest(file)] for shot, file in sorted(found.items(), key=_place)])
        for name, found in matched.takes.items()
    }
    facts: dict[str, Any] = (
        makers.facts() if makers else {"model_hash": None, "vae_hash": None, "sources": {}, "versions": _versions()}
    )
    return facts | {
        "contestants": list(contestants),
        "prompts_hash": content_id(list(dict.fromkeys(shot.prompt for shot in matched.shots))),
        "sources": facts["sources"] | brought,
        "project": project.fingerprint(),
    }


def _place(item: tuple[Shot, Path]) -> tuple[int, int]:
    return item[0].prompt_index, item[0].seed


def _versions() -> dict[str, str]:
    return {"densedpo": densedpo.__version__, "python": platform.python_version(), "numpy": version("numpy")}
