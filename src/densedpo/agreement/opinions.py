"""Labels sorted by who gave them: what each labeller says about each place, and whom to compare them with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from densedpo.agreement.settings import AgreementSettings
from densedpo.errors import UserError
from densedpo.store.answers import PAGE, Opinion, asked_aspect
from densedpo.store.answers import opinions as given_on_the_page
from densedpo.store.consensus import SIGNS, consensus, global_consensus, majority_vote
from densedpo.store.gold import gold_of
from densedpo.store.labellers import Voice
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair
from densedpo.store.segments import segment_grid
from densedpo.store.voters import measured

Place = tuple[str, int | None]  # pair, segment (None: the whole video)
Choices = Mapping[Place, int]  # +1 a, 0 tie, -1 b


@dataclass(frozen=True)
class Said:
    """One answer as it was given, whatever became of the label. `again` marks a second look at a question."""

    place: Place
    choice: str
    order_shown: str
    milliseconds: int | None
    created: str
    again: bool = False


@dataclass
class Opinions:
    """What everybody says on one aspect.

    `said` are everybody's own words, also where a reviewer settled the question later; `standing` are the labels that
    count, the reviewers' among them, and so the votes of a consensus. `repeats` are (first, later) choices of one
    labeller on one place.
    """

    pairs: dict[str, Pair]
    standing: list[Label] = field(default_factory=list)
    said: dict[Voice, list[Said]] = field(default_factory=lambda: defaultdict(list))
    choices: dict[Voice, dict[Place, int]] = field(default_factory=lambda: defaultdict(dict))
    repeats: dict[Voice, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    skipped: Counter[Voice] = field(default_factory=Counter)
    aspects: set[str] = field(default_factory=set)
    other_grid: int = 0

    @property
    def voices(self) -> list[Voice]:
        """People first, then by name."""
        return sorted(self.said, key=lambda voice: (voice.kind != "human", voice))

    def shown(self, voice: Voice) -> str:
        """A name that tells this voice from all others."""
        others = [each for each in self.said if each.name == voice.name and each != voice]
        return f"{voice.name} {voice.version[:6]}" if others else voice.name


def collect(project: Project, settings: AgreementSettings, aspect: str) -> Opinions:
    """All labels on `aspect`; labels on another grid than the project's are counted and left out."""
    found = Opinions({pair.id: pair for pair in project.pairs(settings.split)})
    rows = [
        label
        for label in project.labels(superseded=True)
        if label.pair in found.pairs and (settings.annotators is None or label.annotator in settings.annotators)
    ]
    gone = {label.supersedes for label in rows}
    taken_back = {(label.supersedes, label.annotator_kind, label.annotator) for label in rows}
    answers: list[tuple[Voice, Said]] = []
    for label in rows:
        if (label.id, label.annotator_kind, label.annotator) in taken_back:
            continue
        if label.segment is not None and label.segment_seconds != project.settings.segment_seconds:
            found.other_grid += 1
            continue
        if asked_aspect(label.aspect)[0] == "work":
            found.aspects.add(label.aspect)
        if label.aspect == aspect:
            if label.id not in gone:
                found.standing.append(label)
            if label.annotator_kind != "human" or label.assignment is None:
                answers.append((Voice(label.annotator_kind, label.annotator, label.annotator_version), _of(label)))
    answers += [
        (Voice("human", each.annotator, PAGE), _of(each, again=each.kind == "repeat"))
        for each in given_on_the_page(rows)
        if each.aspect == aspect and each.kind in ("work", "gold", "repeat") and not each.aside
    ]
    for voice, said in sorted(answers, key=lambda row: (row[1].created, row[0], str(row[1].place))):
        _take(found, voice, said)
    return found


def _of(row: Label | Opinion, again: bool = False) -> Said:
    return Said((row.pair, row.segment), row.choice, row.order_shown, row.milliseconds, row.created, again)


def _take(found: Opinions, voice: Voice, said: Said) -> None:
    found.said[voice].append(said)
    if said.choice == "skip":
        found.skipped[voice] += 1
        return
    sign, before = SIGNS[said.choice], found.choices[voice].get(said.place)
    if before is not None:
        found.repeats[voice].append((before, sign))
    if not said.again:
        found.choices[voice][said.place] = sign


def references(project: Project, opinions: Opinions, settings: AgreementSettings) -> dict[Voice, Choices]:
    """Whom each voice is compared with: never with itself, nor with another version of itself.

    The reference's word on a whole video is its whole-video label, or else the majority of its segments.
    Raises UserError if the reference is the name of nobody.
    """
    if settings.reference in ("consensus", "people"):
        return {voice: _consensus_without(project, opinions, settings, voice) for voice in opinions.voices}
    known = {
        (row.pair, row.segment): SIGNS[row.choice]
        for row in gold_of(project)
        if settings.reference == "gold" and row.aspect == settings.aspect
    }
    named = [voice for voice in opinions.voices if voice.name == settings.reference]
    if not named and not known:
        names = ", ".join(sorted({voice.name for voice in opinions.said})) or "nobody"
        raise UserError(
            f"nobody named {settings.reference} has labels on {settings.aspect} here; the reference can be consensus, "
            f"people, gold (if right answers are known), or one of: {names}"
        )
    choices: dict[Place, int] = {}
    for voice in named:
        choices |= opinions.choices[voice]
    whole = _with_majority(choices | known)
    return {voice: whole for voice in opinions.voices if voice.name != settings.reference}


def joint(project: Project, opinions: Opinions, settings: AgreementSettings) -> Choices:
    """The consensus of everybody."""
    return _consensus(project, opinions, settings, opinions.standing)


def _consensus_without(project: Project, opinions: Opinions, settings: AgreementSettings, without: Voice) -> Choices:
    labels = [
        label
        for label in opinions.standing
        if (label.annotator_kind, label.annotator) != (without.kind, without.name)
        and (settings.reference != "people" or label.annotator_kind == "human")
    ]
    return _consensus(project, opinions, settings, labels)


def _consensus(project: Project, opinions: Opinions, settings: AgreementSettings, labels: Iterable[Label]) -> Choices:
    by_pair: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_pair[label.pair].append(label)
    everything = (label for given in by_pair.values() for label in given)
    policy = measured(settings.policy(settings.aspect), everything, settings.gold)
    result: dict[Place, int] = {}
    for id, given in by_pair.items():
        pair = opinions.pairs[id]
        grid = segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)
        found = consensus(given, grid, policy)
        result |= {(id, index): int(found.sign[index]) for index in range(len(grid)) if found.labelled[index]}
        whole = global_consensus(given, policy)
        if whole is not None or found.labelled.any():
            result[id, None] = whole[0] if whole is not None else majority_vote(found)
    return result


def _with_majority(choices: Mapping[Place, int]) -> Choices:
    """The choices, and for pairs without a whole-video label the majority of their segments."""
    return {**majorities(choices), **choices}


def majorities(choices: Mapping[Place, int]) -> dict[Place, int]:
    """The majority of the segments of each pair, as its word on the whole video."""
    sums: Counter[str] = Counter()
    for (pair, segment), sign in choices.items():
        if segment is not None:
            sums[pair] += sign
    return {(pair, None): (total > 0) - (total < 0) for pair, total in sums.items()}


def on_segments(choices: Choices) -> dict[Place, int]:
    """Those on segments."""
    return {place: sign for place, sign in choices.items() if place[1] is not None}


def on_videos(choices: Choices) -> dict[Place, int]:
    """Those on whole videos."""
    return {place: sign for place, sign in choices.items() if place[1] is None}


def spread(opinions: Opinions, pair: str, segments: Sequence[int]) -> float:
    """How much labellers disagree on a pair: mean over its segments of the mean absolute difference of two of them.

    0: all agree; 1: a tie against a choice, or as mixed; 2: one says a, the other b. Needs two labellers on a segment.
    """
    sizes = []
    for segment in segments:
        signs = [given[pair, segment] for given in opinions.choices.values() if (pair, segment) in given]
        if len(signs) > 1:
            differences = [abs(x - y) for i, x in enumerate(signs) for y in signs[:i]]
            sizes.append(sum(differences) / len(differences))
    return sum(sizes) / len(sizes) if sizes else 0.0
