"""Ask a judge all that is missing: many questions at a time, few in memory, every answer kept at once.

A producer prepares units in a thread (decoding is slow) and puts their questions into a short queue, from which workers
take them. There are more workers than requests that may be under way, so that the judge never waits for the disk. An
answer is in the database before anything else happens with it: a killed run loses what was under way and no more.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Literal

from densedpo.errors import UserError
from densedpo.judges.vlm.answer import Verdict
from densedpo.judges.vlm.meter import BudgetSpentError, Meter
from densedpo.judges.vlm.protocol import Judge, UnansweredError
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels.vlm_progress import Progress
from densedpo.labels.vlm_units import Unit, to_label
from densedpo.labels.vlm_verdict import join
from densedpo.store.judgements import Judgement, add_judgements
from densedpo.store.project import Project
from densedpo.store.schema import Label

MEMBER: dict[str, dict[str, Literal["a", "b"]]] = {
    "ab": {"first": "a", "second": "b"},
    "ba": {"first": "b", "second": "a"},
}


class Run:
    """One run over units. Afterwards `choices` and `outcomes` hold what was labelled and answered in it.

    With `labels` False answers are kept and `choices` counted, but nothing is labelled.
    """

    def __init__(
        self,
        project: Project,
        settings: JudgeSettings,
        judge: Judge,
        meter: Meter,
        progress: Progress,
        labels: bool = True,
    ) -> None:
        self.project, self.settings, self.judge, self.meter, self.progress = project, settings, judge, meter, progress
        self.labels = labels
        self.choices: Counter[str] = Counter()  # of units that got all their answers
        self.outcomes: Counter[str] = Counter()  # of questions asked
        self.segments = 0  # of these units, those about segments
        self.why_unanswered = ""  # the first reason
        self.stopped = ""  # by which budget
        self.error: UserError | None = None  # what ended the run early
        self._workers = 2 * settings.concurrency
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._queue: asyncio.Queue[tuple[Unit, Question] | None] = asyncio.Queue(settings.concurrency)
        self._under_way: dict[str, asyncio.Future[Judgement | None]] = {}
        # More than can be answered between a unit's preparation and its turn: the queue, the workers, the unit itself.
        self._recent: OrderedDict[str, Judgement] = OrderedDict()
        self._most_recent = 4 * settings.concurrency + 2 * settings.votes
        self._store = _Store(project)

    async def go(self, units: Iterator[Unit]) -> None:
        """Ask and label. Raises UserError for what ended the run early, after what was under way is kept."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._produce(units))
                for _ in range(self._workers):
                    tasks.create_task(self._work())
        finally:
            await self.judge.close()
        if self.error:
            raise self.error

    @property
    def _over(self) -> bool:
        return bool(self.stopped or self.error)

    async def _produce(self, units: Iterator[Unit]) -> None:
        try:
            while not self._over and (unit := await asyncio.to_thread(next, units, None)):
                for question in unit.questions:
                    await self._queue.put((unit, question))
        except UserError as error:
            self.error = error
        for _ in range(self._workers):
            await self._queue.put(None)

    async def _work(self) -> None:
        while task := await self._queue.get():
            unit, question = task
            try:
                unit.answers[question.id] = None if self._over else await self._answer(unit, question)
                if len(unit.answers) == len(unit.questions):
                    await self._finish(unit)
            except UserError as error:
                self.error = error

    async def _answer(self, unit: Unit, question: Question) -> Judgement | None:
        """The answer, asked for once even if two units have the same question; None if there is none."""
        known = unit.known.get(question.id) or self._recent.get(question.id)
        if known or question.id in self._under_way:
            return known or await asyncio.shield(self._under_way[question.id])
        future = self._under_way[question.id] = asyncio.get_running_loop().create_future()
        judgement = None
        try:
            judgement = await self._ask(unit, question)
        finally:
            del self._under_way[question.id]
            future.set_result(judgement)
        return judgement

    async def _ask(self, unit: Unit, question: Question) -> Judgement | None:
        try:
            async with self._slots:
                if self._over:
                    return None
                self.meter.reserve(question)
                verdict = await self.judge.ask(question, self.meter.estimate(question))
        except BudgetSpentError as error:
            self.stopped = str(error)
            return None
        except UnansweredError as error:
            self.why_unanswered = self.why_unanswered or str(error)
            return None
        finally:
            self.meter.release(question)
        self.meter.add(question, verdict.tokens_in, verdict.tokens_out)
        self.outcomes[verdict.outcome] += 1
        judgement = self._judgement(unit, question, verdict)
        await self._store.save(judgement)
        self._recent[question.id] = judgement
        if len(self._recent) > self._most_recent:
            self._recent.popitem(last=False)
        return judgement

    def _judgement(self, unit: Unit, question: Question, verdict: Verdict) -> Judgement:
        place, answer, members = unit.place, verdict.answer, MEMBER[question.order]
        seen = {} if answer is None else {"first": answer.artifacts_first, "second": answer.artifacts_second}
        return Judgement(
            id=question.id,
            pair=place.pair.id,
            segment=place.segment,
            segment_seconds=self.project.settings.segment_seconds,
            aspect=place.aspect,
            judge=self.settings.model,
            judge_version=self.settings.judge_version,
            order_shown=question.order,
            vote=question.vote,
            outcome=verdict.outcome,
            choice="skip" if answer is None else members.get(answer.choice, "tie"),
            confidence=None if answer is None else answer.confidence,
            artifacts={members[which]: kinds for which, kinds in seen.items()},
            reason="" if answer is None else answer.reason,
            raw=verdict.raw,
            tokens_in=verdict.tokens_in,
            tokens_out=verdict.tokens_out,
            milliseconds=verdict.milliseconds,
        )

    async def _finish(self, unit: Unit) -> None:
        if len(unit.given) < len(unit.questions):
            return
        if self.labels:
            await self._store.save(to_label(self.project, self.settings, unit))
        self.choices[join(unit.given).choice] += 1
        self.segments += unit.place.segment is not None
        self.progress.step(self.meter.money)


class _Store:
    """Saves rows. Those that come while others are being written are written together, next."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = asyncio.Lock()
        self._waiting: list[Judgement | Label] = []
        self._error: UserError | None = None

    async def save(self, row: Judgement | Label) -> None:
        """Return when the row is safe. Raises UserError if it cannot be written (disk full, database gone)."""
        self._waiting.append(row)
        async with self._lock:
            rows, self._waiting = self._waiting, []
            if rows and not self._error:
                try:
                    await asyncio.to_thread(self._write, rows)
                except UserError as error:
                    self._error = error
        if self._error:
            raise self._error

    def _write(self, rows: list[Judgement | Label]) -> None:
        judgements = [row for row in rows if isinstance(row, Judgement)]
        if judgements:
            add_judgements(self._project, judgements)
        self._project.add_labels([row for row in rows if isinstance(row, Label)])
