"""The static test: does a labeller prefer a frozen copy to the moving original?

A labeller that does teaches a model to stand still. DenseDPO (arXiv 2506.03517, table 8) found reward models that
choose the frozen copy two times in three. Any labeller can take the test: it gets `StaticPair`s and says which side it
chooses; `record_static_test` writes the outcome into the project's log, where `densedpo agreement` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from densedpo.errors import UserError
from densedpo.judges.scorers.protocol import Scorer, ScorerError, Shown
from densedpo.progress import track
from densedpo.store.project import Project
from densedpo.store.schema import content_id
from densedpo.video.io import Frames, read_video, write_video

EVENT = ASPECT = "static-test"  # in the log; and the aspect of a judge's answers, which no label has
STILL = 0.5  # grey levels of mean change from frame to frame; a clip below it is still already and tests nothing

StaticChoice = Literal["moving", "frozen", "tie"]


@dataclass(frozen=True)
class Footage:
    """A clip to make a static pair of: uint8 `[T, H, W, 3]` RGB."""

    id: str
    caption: str
    fps: float
    frames: Frames


@dataclass(frozen=True)
class StaticPair:
    """A moving clip and a copy in which one of its frames stands still; both `[T, H, W, 3]`."""

    id: str
    caption: str
    fps: float
    moving: Frames
    frozen: Frames


@dataclass(frozen=True)
class StaticOutcome:
    """How often which side was chosen; `failed` clips got no answer."""

    moving: int
    frozen: int
    ties: int
    failed: int

    @property
    def decisive(self) -> int:
        """Answers for one of the sides."""
        return self.moving + self.frozen


def static_pairs(clips: Iterable[Footage]) -> Iterator[StaticPair]:
    """Each clip that moves, and a copy frozen at a frame drawn by the clip's id: no place in the clip is special."""
    for clip in clips:
        steps = np.abs(np.diff(clip.frames.astype(np.int16), axis=0))
        if len(clip.frames) > 1 and steps.mean() >= STILL:
            place = int(content_id("static", clip.id), 16) % len(clip.frames)
            frozen = np.broadcast_to(clip.frames[place], clip.frames.shape).copy()
            yield StaticPair(clip.id, clip.caption, clip.fps, clip.frames, frozen)


def footage(project: Project, count: int) -> Iterator[Footage]:
    """At most `count` real clips of the project, or, if it has none, the first members of as many pairs.

    Raises UserError if it has neither.
    """
    rows = [(clip.id, clip.caption, clip.fps, clip.media) for clip in project.clips()]
    rows = rows or [(pair.id, pair.prompt, pair.fps, pair.media_a) for pair in project.pairs()]
    if not rows:
        raise UserError(f"{project.root} has no clips for the static test; take some in with `densedpo ingest`")
    for id, caption, fps, media in rows[:count]:  # in id order, which is random because ids are hashes
        yield Footage(id, caption, fps, read_video(project.media_path(media))[0])


def static_test(choose: Callable[[StaticPair], StaticChoice], pairs: Iterable[StaticPair]) -> StaticOutcome:
    """Let a labeller choose. A ScorerError of `choose` counts the pair as failed."""
    counts: dict[str, int] = {"moving": 0, "frozen": 0, "tie": 0, "failed": 0}
    for pair in pairs:
        try:
            counts[choose(pair)] += 1
        except ScorerError:
            counts["failed"] += 1
    return StaticOutcome(counts["moving"], counts["frozen"], counts["tie"], counts["failed"])


def scorer_static_test(project: Project, scorer: Scorer, version: str, count: int, tie_band: float) -> StaticOutcome:
    """The static test of a scorer, on whole clips, recorded in the project. Raises UserError as `footage` does."""
    with TemporaryDirectory(dir=project.cache_folder("static-test")) as folder:

        def choose(pair: StaticPair) -> StaticChoice:
            moving, frozen = (
                _score(scorer, pair, frames, Path(folder) / f"{name}-{pair.id}.mp4")
                for name, frames in (("moving", pair.moving), ("frozen", pair.frozen))
            )
            return "tie" if abs(moving - frozen) <= tie_band else "moving" if moving > frozen else "frozen"

        pairs = track(static_pairs(footage(project, count)), description=f"static test {scorer.about.name}")
        outcome = static_test(choose, pairs)
    record_static_test(project, "reward", scorer.about.name, version, outcome)
    return outcome


def record_static_test(project: Project, kind: str, annotator: str, version: str, outcome: StaticOutcome) -> None:
    """Write down how a labeller did, for `densedpo agreement` to show."""
    labeller = {"annotator_kind": kind, "annotator": annotator, "annotator_version": version}
    project.record(EVENT, **labeller, **asdict(outcome))


def recorded_static_tests(project: Project) -> list[dict[str, Any]]:
    """The latest test of each labeller, as `record_static_test` wrote it."""
    latest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for event in sorted((event for event in project.events() if event.kind == EVENT), key=lambda event: event.time):
        detail = event.detail
        latest[detail["annotator_kind"], detail["annotator"], detail["annotator_version"]] = detail
    return [latest[key] for key in sorted(latest)]


def _score(scorer: Scorer, pair: StaticPair, frames: Frames, path: Path) -> float:
    write_video(path, frames, pair.fps)
    try:
        return scorer.about.sign * scorer.score(Shown(path.stem, path, pair.caption, 0, len(frames), pair.fps))
    finally:
        path.unlink()
