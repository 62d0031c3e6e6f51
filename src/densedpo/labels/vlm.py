"""Labels by a vision-language model, asked about one short segment at a time, in both orders."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from densedpo.judges.vlm.meter import Meter, cost
from densedpo.judges.vlm.protocol import Judge
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels.vlm_batch import BatchFiles, BatchJudge, write_batch
from densedpo.labels.vlm_progress import Progress
from densedpo.labels.vlm_run import Run
from densedpo.labels.vlm_settings import VlmLabelSettings
from densedpo.labels.vlm_units import survey, units
from densedpo.store.judgements import has_answered, spent
from densedpo.store.project import Project

LOCK = "label-vlm"


@dataclass(frozen=True)
class VlmPlan:
    """What labelling would take: `calls` for `units` (segments or whole videos, times aspects) of `pairs`.

    `tokens_in` and `money` are estimates from the pictures' sizes; `tokens_out` and `money` count the longest answers,
    so the money is what it can cost at most. None without prices. `answered` questions were paid for before.
    """

    annotator: str
    annotator_version: str
    pairs: int
    known: int
    near_identical: int
    units: int
    calls: int
    answered: int
    tokens_in: int
    tokens_out: int
    money: float | None


@dataclass(frozen=True)
class VlmLabelReport:
    """What a run did. `abstained` of the labels are skips; `unanswered` units have none and are asked again next time.

    `outcomes` counts the answers of this run; tokens and money are what this model took in this project in all.
    """

    annotator: str
    annotator_version: str
    pairs: int
    known: int
    near_identical: int
    labels: int
    segments: int
    ties: int
    abstained: int
    unanswered: int
    why_unanswered: str
    stopped: str
    outcomes: dict[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = None
    unused_results: int = 0


def plan_vlm(project: Project, settings: VlmLabelSettings) -> VlmPlan:
    """Count the questions and their cost, asking nobody. Raises UserError for mistakes in the settings."""
    judge = settings.resolve()
    found = survey(project, settings, judge)
    tokens_out = found.calls * judge.max_tokens
    return VlmPlan(
        annotator=judge.model,
        annotator_version=judge.version,
        pairs=found.pairs,
        known=found.known,
        near_identical=found.near_identical,
        units=found.units,
        calls=found.calls,
        answered=found.answered,
        tokens_in=found.tokens_in,
        tokens_out=tokens_out,
        money=cost(judge, found.tokens_in, tokens_out),
    )


def write_vlm_batch(project: Project, settings: VlmLabelSettings, path: Path) -> BatchFiles:
    """Write the questions that lack an answer as batch files, asking nobody.

    Raises UserError for mistakes in the settings, videos that are damaged, and a full disk.
    """
    judge = settings.resolve()
    with project.lock(LOCK), project.keeping_connections() as kept:
        survey(kept, settings, judge)
        return write_batch(judge, units(kept, settings, judge), path)


def label_vlm(project: Project, settings: VlmLabelSettings, batch_in: Sequence[Path] = ()) -> VlmLabelReport:
    """Let the judge label every unit that lacks its label; with `batch_in`, from the results of a batch.

    Every answer is kept as it comes and never asked for again; running it again goes on where it stopped. A budget that
    is spent ends the run cleanly. Raises UserError if the judge cannot be reached or used at all, or a video is
    damaged; what was answered before stays.
    """
    judge = settings.resolve()
    with project.lock(LOCK), project.keeping_connections() as kept:  # a question costs several looks into the database
        found = survey(kept, settings, judge)
        limits = judge.model_copy(update={"budget_tokens": None, "budget_money": None}) if batch_in else judge
        meter = Meter(limits, spent(kept, judge.model))  # what is in a batch's results was paid for
        answering = open_judge(kept, settings, judge, batch_in)
        with Progress(found.units) as progress:
            run = Run(kept, judge, answering, meter, progress)
            try:
                asyncio.run(run.go(units(kept, settings, judge)))
            finally:
                if labels := run.choices.total():
                    _record(kept, judge, labels, dict(run.outcomes))
    return VlmLabelReport(
        annotator=judge.model,
        annotator_version=judge.version,
        pairs=found.pairs,
        known=found.known,
        near_identical=found.near_identical,
        labels=labels,
        segments=run.segments,
        ties=run.choices["tie"],
        abstained=run.choices["skip"],
        unanswered=found.units - labels,
        why_unanswered=run.why_unanswered,
        stopped=run.stopped,
        outcomes=dict(run.outcomes),
        tokens_in=meter.tokens_in,
        tokens_out=meter.tokens_out,
        money=meter.money,
        unused_results=answering.unused if isinstance(answering, BatchJudge) else 0,
    )


def _record(project: Project, judge: JudgeSettings, added: int, answers: dict[str, int]) -> None:
    prices = {name: price for name in ("price_in", "price_out") if (price := getattr(judge, name)) is not None}
    project.record("label", annotator=judge.model, version=judge.version, added=added, answers=answers, **prices)


def open_judge(
    project: Project, settings: VlmLabelSettings, judge: JudgeSettings, batch_in: Sequence[Path] = ()
) -> Judge:
    """Whoever answers: results of a batch, a model in this process, or a server."""
    if batch_in:
        return BatchJudge(batch_in)
    if settings.local is not None:
        from densedpo.judges.vlm.local import LocalJudge  # torch

        return LocalJudge(settings.local, judge)
    from densedpo.judges.vlm.client import ServerJudge  # the extra `vlm`

    return ServerJudge(judge, proven=has_answered(project, judge.model, judge.judge_version))
