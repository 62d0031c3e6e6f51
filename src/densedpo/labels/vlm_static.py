"""The static test of a vision-language judge: frozen copies against moving originals, asked as any other question.

Answers are kept and paid once like all others, under an aspect of their own; nothing is labelled.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from densedpo.errors import UserError
from densedpo.judges.static import ASPECT, Footage, StaticOutcome, record_static_test, static_pairs
from densedpo.judges.vlm.meter import Meter
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels.vlm import LOCK, open_judge
from densedpo.labels.vlm_progress import Progress
from densedpo.labels.vlm_run import Run
from densedpo.labels.vlm_settings import VlmLabelSettings
from densedpo.labels.vlm_units import KIND, Place, Unit, make_unit
from densedpo.store.judgements import spent
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Pair
from densedpo.store.segments import segment_grid
from densedpo.video.io import read_video


@dataclass(frozen=True)
class VlmStaticReport:
    """What the judge chose. `stopped` says by which budget the test ended early; then it is not recorded."""

    annotator: str
    annotator_version: str
    outcome: StaticOutcome
    stopped: str


def static_test_vlm(project: Project, settings: VlmLabelSettings, count: int) -> VlmStaticReport:
    """Let the judge choose between `count` clips and frozen copies, and record it for the agreement page.

    The clips are those that pairs were made from, or a pair's first member where there is none; of each the judge is
    shown what it judges, which is one segment (the middle one), or all of it if its mode is `whole`. Raises UserError
    as `label_vlm` does.
    """
    judge = settings.resolve()
    with project.lock(LOCK), project.keeping_connections() as kept:
        sources = list(islice(_sources(kept, settings), count))
        if not sources:
            raise UserError(f"{project.root} has no such pairs to take clips from; make some with `densedpo pairs`")
        meter = Meter(judge, spent(kept, judge.model))
        with Progress(len(sources)) as progress:
            run = Run(kept, judge, open_judge(kept, settings, judge), meter, progress, labels=False)
            asked: list[str] = []
            asyncio.run(run.go(_units(kept, judge, sources, asked)))
        failed = len(asked) - run.choices["a"] - run.choices["b"] - run.choices["tie"]
        outcome = StaticOutcome(run.choices["a"], run.choices["b"], run.choices["tie"], failed)
        if not run.stopped:
            record_static_test(kept, KIND, judge.model, judge.version, outcome)
    return VlmStaticReport(judge.model, judge.version, outcome, run.stopped)


def _sources(project: Project, settings: VlmLabelSettings) -> Iterator[tuple[Pair, str, str]]:
    """Pairs with the id and file of their clip (or of their first member), each clip once."""
    seen: set[str] = set()
    for pair in project.pairs(settings.split, settings.pair_mode):
        clip = project.by_id(Clip, [pair.clip]).get(pair.clip) if pair.clip else None
        media = clip.media if clip else pair.media_a
        if media not in seen:
            seen.add(media)
            yield pair, pair.clip or pair.media_a, media


def _units(
    project: Project, judge: JudgeSettings, sources: list[tuple[Pair, str, str]], asked: list[str]
) -> Iterator[Unit]:
    """One for each clip that moves, whose id is added to `asked`; a is the moving side, b the frozen one."""
    for pair, id, media in sources:
        frames, _ = read_video(project.media_path(media))
        grid = segment_grid(len(frames), pair.fps, project.settings.segment_seconds)
        middle = grid[len(grid) // 2]
        first, end = (0, len(frames)) if judge.mode == "whole" else (middle.first_frame, middle.end_frame)
        place = Place(pair, None if judge.mode == "whole" else middle.index, first, end, ASPECT)
        for each in static_pairs([Footage(id, pair.prompt, pair.fps, frames[first:end])]):
            asked.append(id)
            still = np.broadcast_to(each.frozen[0], frames.shape)
            yield make_unit(project, judge, place, frames, still, pair.prompt, "overall")
