"""A learned reward model as a metric: any scorer behind the contract of `judges/scorers/external.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from densedpo.judges.scorers import Scorer, ScorerError, Shown
from densedpo.judges.scorers.channels import HttpChannel, ProcessChannel
from densedpo.judges.scorers.external import ExternalScorer
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Metric, UnmeasurableError
from densedpo.metrics.tools import Tools

ANSWER_SECONDS, START_SECONDS = 300.0, 1800.0  # a model may have to be loaded, or even downloaded by its makers' code


class Reward(Metric):
    """What a scorer says of a whole clip. Made by `reward_metrics`, not found: it needs an address."""

    aspect = "quality"
    low, high, better = -math.inf, math.inf, "higher"
    blind_spot = "Unknown: some reward models prefer frozen clips, so read it beside an amount of motion."

    def __init__(self, name: str, scorer: Scorer) -> None:
        self.name, self.title, self.source = f"reward_{name}", f"Reward model {name}", scorer.about.source
        self.scorer = scorer

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        return "needs captions, give them with --prompts FILE" if None in asked.captions else None

    def measure(self, clip: Footage, tools: Tools) -> float:
        if clip.file is None or clip.caption is None:
            raise UnmeasurableError("a reward model needs a file and a caption")
        shown = Shown(clip.file.stem, clip.file, clip.caption, 0, len(clip.frames), clip.fps)
        try:
            return self.scorer.score(shown)
        except ScorerError as error:
            raise UnmeasurableError(str(error)) from error


def reward_metrics(places: Mapping[str, str]) -> dict[str, Reward]:
    """One metric for each name → command that starts a scorer, or address of one that runs; its number is `overall`."""
    found = {}
    for name, place in places.items():
        running = place.startswith(("http://", "https://"))
        channel = (
            HttpChannel(place, ANSWER_SECONDS) if running else ProcessChannel(place, ANSWER_SECONDS, START_SECONDS)
        )
        metric = Reward(name, ExternalScorer(name, channel))
        found[metric.name] = metric
    return found


@contextmanager
def closing_all(rewards: Mapping[str, Reward]) -> Iterator[None]:
    """End every process that a scorer has started, at the end of the block."""
    try:
        yield
    finally:
        for reward in rewards.values():
            reward.scorer.close()
