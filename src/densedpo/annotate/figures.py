"""The numbers of the dashboard, worked out from what the store holds: pure functions.

Choices are signs: +1 a better, 0 tie, -1 b better. Shapes: U questions, R people.
"""

from __future__ import annotations

import datetime
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel

from densedpo.stats.agreement import alpha_interval, position_bias
from densedpo.stats.intervals import Interval, proportion_interval
from densedpo.store.answers import Opinion
from densedpo.store.consensus import SIGNS
from densedpo.store.overview import Overview, Question
from densedpo.store.people import Person, Role, State

HOURS = 24  # that the chart of the pace covers
RESAMPLES = 400


class Share(BaseModel):
    """`count` of `n`, with a 95% interval; no share without any."""

    count: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class Alpha(BaseModel):
    """Krippendorff's ordinal alpha of one aspect over the questions that two or more answered."""

    aspect: str
    questions: int
    alpha: float | None
    low: float | None
    high: float | None


class PersonFigures(BaseModel):
    """How one person works. `seconds` is the median time of a label."""

    id: str
    name: str
    role: Role
    state: State
    aside: bool
    pairs: int
    labels: int
    seconds: float | None
    ties: Share
    skips: Share
    left: Share
    consensus: Share
    gold: Share
    practice: Share
    repeats: Share
    latest: str | None


def share(count: int, n: int) -> Share:
    """A share with its interval."""
    if not n:
        return Share(count=0, n=0, share=None, low=None, high=None)
    interval = proportion_interval(count, n)
    return Share(count=count, n=n, share=count / n, low=interval.low, high=interval.high)


def alphas(opinions: Iterable[Opinion]) -> list[Alpha]:
    """How far people agree at work, aspect by aspect; the interval draws pairs, whose segments are not independent."""
    by_aspect: defaultdict[str, list[Opinion]] = defaultdict(list)
    for opinion in _counted(opinions):
        by_aspect[opinion.aspect].append(opinion)
    return [_alpha(aspect, given) for aspect, given in sorted(by_aspect.items())]


def _alpha(aspect: str, given: Sequence[Opinion]) -> Alpha:
    raters = {name: place for place, name in enumerate(sorted({each.annotator for each in given}))}
    questions = {question: place for place, question in enumerate(dict.fromkeys(each.question for each in given))}
    ratings_UR = np.full((len(questions), len(raters)), np.nan)
    for each in given:
        ratings_UR[questions[each.question], raters[each.annotator]] = SIGNS[each.choice]
    twice = int((np.isfinite(ratings_UR).sum(axis=1) > 1).sum())
    interval = Interval(math.nan, math.nan, math.nan, 0)
    if twice:
        groups = [pair for pair, *_ in questions]
        interval = alpha_interval(ratings_UR, "ordinal", groups, resamples=RESAMPLES)
    mean, low, high = (_known(value) for value in (interval.mean, interval.low, interval.high))
    return Alpha(aspect=aspect, questions=twice, alpha=mean, low=low, high=high)


def of_people(found: Overview) -> list[PersonFigures]:
    """The figures of everybody who labels or could, oldest first."""
    by_person: defaultdict[str, list[Opinion]] = defaultdict(list)
    for opinion in found.opinions:
        by_person[opinion.annotator].append(opinion)
    done = Counter(each.person for each in found.assignments if each.finished and each.kind != "review")
    votes = _votes(found.opinions)
    return [_of_person(person, by_person[person.id], done[person.id], votes, found) for person in found.people]


def _of_person(
    person: Person, said: list[Opinion], pairs: int, votes: dict[Question, list[tuple[str, int]]], found: Overview
) -> PersonFigures:
    work = [each for each in said if each.kind in ("work", "gold", "repeat")]
    firm = [each for each in work if each.choice in ("a", "b")]
    on_left = sum(each.choice == each.order_shown[0] for each in firm)
    times = [each.milliseconds / 1000 for each in work if each.milliseconds]
    return PersonFigures(
        id=person.id,
        name=person.name,
        role=person.role,
        state=person.state,
        aside=person.id in found.aside,
        pairs=pairs,
        labels=len(work),
        seconds=statistics.median(times) if times else None,
        ties=share(sum(each.choice == "tie" for each in work), len(work)),
        skips=share(sum(each.choice == "skip" for each in work), len(work)),
        left=_position(on_left, len(firm)),
        consensus=_with_consensus(person.id, said, votes, found.decided),
        gold=_right([each for each in said if each.kind == "gold"], found.gold),
        practice=_right([each for each in said if each.kind == "qualify"], found.gold),
        repeats=_repeated(said),
        latest=max((each.created for each in said), default=None),
    )


def _position(on_left: int, firm: int) -> Share:
    """How often the left one was chosen, of the choices for a side; fair is 0.5."""
    value, low, high = position_bias(on_left, firm)
    return Share(count=on_left, n=firm, share=_known(value), low=_known(low), high=_known(high))


def _with_consensus(
    person: str, said: list[Opinion], votes: dict[Question, list[tuple[str, int]]], decided: dict[Question, str]
) -> Share:
    """How often somebody says what a reviewer decided, or else what most of the others say, where they have a view."""
    same = asked = 0
    for each in said:
        if each.kind != "work" or each.choice == "skip":
            continue
        others = [sign for name, sign in votes.get(each.question, []) if name != person]
        if each.question in decided:
            reference = SIGNS.get(decided[each.question])
        else:
            reference = _majority(others) if others else None
        if reference is not None:
            asked += 1
            same += SIGNS[each.choice] == reference
    return share(same, asked)


def _right(said: list[Opinion], known: dict[Question, str]) -> Share:
    """How often the known answer was given. A skip counts as wrong: the answer can be told."""
    asked = [each for each in said if each.question in known]
    return share(sum(each.choice == known[each.question] for each in asked), len(asked))


def _repeated(said: list[Opinion]) -> Share:
    """How often somebody says the same again when they see a pair a second time, the other way round."""
    first = {each.question: each.choice for each in said if each.kind == "work"}
    again = [each for each in said if each.kind == "repeat" and each.question in first]
    return share(sum(each.choice == first[each.question] for each in again), len(again))


def _votes(opinions: Iterable[Opinion]) -> dict[Question, list[tuple[str, int]]]:
    votes: defaultdict[Question, list[tuple[str, int]]] = defaultdict(list)
    for each in _counted(opinions):
        votes[each.question].append((each.annotator, SIGNS[each.choice]))
    return votes


def _majority(signs: list[int]) -> int:
    """The sign that most gave; a draw for the first place is a tie, as in `consensus`."""
    a, b, ties = signs.count(1), signs.count(-1), signs.count(0)
    return 1 if a > max(b, ties) else -1 if b > max(a, ties) else 0


def _counted(opinions: Iterable[Opinion]) -> list[Opinion]:
    return [each for each in opinions if each.kind == "work" and each.choice != "skip" and not each.aside]


def labels_by_hour(opinions: Iterable[Opinion], now: datetime.datetime) -> list[int]:
    """Labels in each of the latest `HOURS` hours, the oldest first; the last one is the hour until now."""
    counts = [0] * HOURS
    for each in opinions:
        ago = math.floor((now - datetime.datetime.fromisoformat(each.created)).total_seconds() / 3600)
        if 0 <= ago < HOURS:
            counts[HOURS - 1 - ago] += 1
    return counts


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
