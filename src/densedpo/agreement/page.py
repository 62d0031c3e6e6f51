"""The page: numbers and videos put into a template, and `agreement.json` beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from densedpo.agreement.figures import figures
from densedpo.agreement.opinions import Choices, Opinions, collect, joint, spread
from densedpo.agreement.settings import AgreementSettings
from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.judges.scorers import find_scorers
from densedpo.judges.static import scorer_static_test
from densedpo.store.project import Project
from densedpo.store.schema import Pair
from densedpo.store.segments import Segment, segment_grid
from densedpo.video.io import Frames, read_video, write_video
from densedpo.video.player import poster, upscale

TEMPLATES = Path(__file__).parent / "templates"
MINIMUM_SIDE = 144  # pixels; tiny clips are enlarged a whole number of times
BY_SIGN = {1: "a", 0: "tie", -1: "b"}


@dataclass(frozen=True)
class AgreementReport:
    """The page and its numbers: how many labellers, labels, and Krippendorff's alpha of all of them (None: unknown)."""

    page: Path
    numbers: Path
    labellers: int
    labels: int
    pairs: int
    alpha: float | None


@dataclass(frozen=True)
class Contested:
    """A pair whose labellers disagree: one file with both sides, and everybody's choices segment by segment."""

    pair: Pair
    spread: float
    video: str | None
    poster: str | None
    width: int
    height: int
    segments: tuple[Segment, ...]
    rows: tuple[tuple[str, tuple[str | None, ...], str | None], ...]  # name, choices on segments, on the whole video


def write_agreement(project: Project, settings: AgreementSettings) -> AgreementReport:
    """Write `agreement.html`, `agreement.json` and `media/` into a run folder; running it again writes them anew.

    The folder can be copied and opened without a server or a network. Raises UserError if nobody has labelled
    anything, or if the reference is nobody.
    """
    with project.lock("agreement"):
        opinions = collect(project, settings, settings.aspect)
        if not opinions.said:
            raise UserError(
                f"{project.root} has no labels on {settings.aspect} to compare; get some with `densedpo annotate`, "
                "`densedpo label oracle` or `densedpo label reward`"
            )
        if settings.static_test is not None:
            for scorer in find_scorers().values():
                scorer_static_test(project, scorer, scorer.version, settings.static_test, tie_band=0.0)
        found = figures(project, opinions, settings)
        folder = project.run_folder(settings.run)
        (folder / "media").mkdir(exist_ok=True)
        contested = _most_contested(project, opinions, settings, folder)
        page = _environment().get_template("agreement.html").render(figures=found, contested=contested)
        numbers = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_text_atomic(folder / "agreement.json", numbers)
        write_text_atomic(folder / "agreement.html", page)
    return AgreementReport(
        page=folder / "agreement.html",
        numbers=folder / "agreement.json",
        labellers=len(found["voices"]),
        labels=found["labels"],
        pairs=found["pairs"],
        alpha=found["alpha"]["all"]["value"],
    )


def _most_contested(project: Project, opinions: Opinions, settings: AgreementSettings, folder: Path) -> list[Contested]:
    """The pairs on which labellers disagree most, most first."""
    grids = {
        id: segment_grid(pair.frames, pair.fps, project.settings.segment_seconds) for id, pair in opinions.pairs.items()
    }
    spreads = {id: spread(opinions, id, [segment.index for segment in grid]) for id, grid in grids.items()}
    chosen = sorted((id for id, size in spreads.items() if size > 0), key=lambda id: (-spreads[id], id))
    together = joint(project, opinions, settings) if chosen else {}
    return [
        _contested(project, opinions, opinions.pairs[id], grids[id], spreads[id], together, folder)
        for id in chosen[: settings.shown]
    ]


def _contested(
    project: Project,
    opinions: Opinions,
    pair: Pair,
    grid: tuple[Segment, ...],
    size: float,
    together: Choices,
    folder: Path,
) -> Contested:
    everybody = [(opinions.shown(voice), opinions.choices[voice]) for voice in opinions.voices]
    rows = []
    for name, choices in [("consensus", together), *everybody]:
        words = tuple(_word(choices, pair.id, segment.index) for segment in grid)
        whole = _word(choices, pair.id, None)
        if any(words) or whole:
            rows.append((name, words, whole))
    video, image, width, height = _side_by_side(project, pair, folder)
    return Contested(pair, size, video, image, width, height, grid, tuple(rows))


def _word(choices: Choices, pair: str, segment: int | None) -> str | None:
    sign = choices.get((pair, segment))
    return None if sign is None else BY_SIGN[sign]


def _side_by_side(project: Project, pair: Pair, folder: Path) -> tuple[str | None, str | None, int, int]:
    """Write both members into one file, so that they cannot drift apart; Nones where a video cannot be read."""
    try:
        sides = [read_video(project.media_path(media))[0] for media in (pair.media_a, pair.media_b)]
    except UserError:
        return None, None, 0, 0
    joined: Frames = np.concatenate([upscale(frames, MINIMUM_SIDE) for frames in sides], axis=2)
    video, image = f"media/{pair.id}.mp4", f"media/{pair.id}.png"
    write_video(folder / video, joined, pair.fps, quality="browser")
    (folder / image).write_bytes(poster(joined))
    return video, image, joined.shape[2], joined.shape[1]


def percent(value: float | None) -> str:
    """A share as a whole number of percent; a dash if unknown."""
    return "–" if value is None else f"{100 * value:.0f}%"


def number(value: float | None, places: int = 2) -> str:
    """A number with a real minus sign; a dash if unknown."""
    return "–" if value is None else f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def limits(interval: dict[str, Any], shares: bool) -> str:
    """The limits of an interval in words; nothing if unknown."""
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return ""
    return f"{100 * low:.0f} to {100 * high:.0f}%" if shares else f"{number(low)} to {number(high)}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number=number, limits=limits)
    return environment
