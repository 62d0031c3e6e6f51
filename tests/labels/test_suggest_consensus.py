"""Which segments a person should label next, by every way to a consensus; scores worked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from label_pairs import add_pair, new_project

from densedpo.cli.reward_commands import label_suggest
from densedpo.errors import UserError
from densedpo.labels.suggest import Suggestion, SuggestSettings, suggest
from densedpo.store.project import Project
from densedpo.store.schema import Label


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def give(project: Project, pair: str, segment: int, name: str, choice: str, **changes: Any) -> None:
    values: dict[str, Any] = {"annotator_kind": "vlm", "seen": "s", "segment_seconds": 1.0, "confidence": 1.0}
    row = Label.make(pair=pair, segment=segment, annotator=name, choice=choice, **values | changes)
    project.add_labels([row])


def rated(project: Project, **settings: Any) -> dict[tuple[str, int], Suggestion]:
    return {(row.pair, row.segment): row for row in suggest(project, SuggestSettings(**settings)).rows}


def test_what_a_judge_could_not_decide_comes_before_what_it_decided(project: Project) -> None:
    pair, other = add_pair(project, 1).id, add_pair(project, 2).id
    give(project, pair, 0, "judge", "tie", confidence=None)  # its two orders disagreed
    give(project, pair, 1, "judge", "skip", confidence=None)
    give(project, other, 0, "judge", "tie")
    found = rated(project)
    assert [(found[pair, 0].score, found[pair, 0].reason)] == [(1.0, "low confidence, machines only")]
    assert [(found[pair, 1].score, found[pair, 1].reason)] == [(0.5, "machines could not tell")]
    assert [(found[other, 0].score, found[other, 0].reason)] == [(0.5, "machines only")]
    assert [(found[other, 1].score, found[other, 1].reason)] == [(0.25, "nobody labelled it")]


def test_where_the_consensus_makes_no_label_a_person_should_look(project: Project) -> None:
    pair = add_pair(project, 1).id
    for segment, words in enumerate(("aab", "ab")):
        for name, choice in zip(("m1", "m2", "m3"), words, strict=False):
            give(project, pair, segment, name, choice)
    spread = (2 / 3 + 1 / 3 - (1 / 3) ** 2) ** 0.5
    plain = rated(project)
    assert (plain[pair, 0].score, plain[pair, 1].score) == (pytest.approx(spread + 0.5, abs=1e-6), 1.5)
    drawn = rated(project, draw="unlabelled")
    assert (drawn[pair, 0].score, drawn[pair, 1].score) == (plain[pair, 0].score, 2.0)
    assert drawn[pair, 1].reason == "labellers disagree, no clear consensus, machines only"
    strict = rated(project, minimum_confidence=0.7)
    assert strict[pair, 0].score == pytest.approx(spread + 1.0, abs=1e-6)


def test_a_persons_word_settles_it_if_people_override(project: Project) -> None:
    pair = add_pair(project, 1).id
    for name, kind in (("ann", "human"), ("m1", "vlm"), ("m2", "vlm")):
        give(project, pair, 0, name, "a" if kind == "human" else "b", annotator_kind=kind)
    assert rated(project)[pair, 0].score > 0.9
    settled = rated(project, humans_override=True)[pair, 0]
    assert (settled.score, settled.reason, settled.people, settled.votes_b) == (0, "settled", 1, 0)


def test_an_annotator_who_is_always_wrong_raises_less_doubt_by_dawid_skene(project: Project) -> None:
    pairs = [add_pair(project, number).id for number in range(12)]
    for number, pair in enumerate(pairs):
        for segment in (0, 1):
            right = "ab"[(number + segment) % 2]
            for name in ("m1", "m2"):
                give(project, pair, segment, name, right)
            give(project, pair, segment, "coin", "a")  # says the same of everything
    place = pairs[0], 1
    by_votes, by_model = rated(project)[place], rated(project, consensus="dawid-skene")[place]
    assert (by_votes.votes_a, by_votes.votes_b) == (by_model.votes_a, by_model.votes_b) == (1, 2)
    assert by_model.score < by_votes.score - 0.5  # 0.94 of spread by votes, hardly any by the model


def test_the_command_takes_the_words_of_training(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    pair = add_pair(project, 1).id
    give(project, pair, 0, "m1", "a")
    give(project, pair, 0, "m2", "b")
    settings = {"consensus": "weighted", "gold": "m1", "humans_override": True, "minimum_confidence": 0.9}
    assert label_suggest(project.root, draw="unlabelled", json_line=True, **settings) == 0
    told, line = capsys.readouterr().out.splitlines()[0::3]
    assert "no clear consensus" in told and json.loads(line)["undecided"] == 1
    with pytest.raises(UserError, match="nobody named zoe has labels"):
        label_suggest(project.root, consensus="weighted", gold="zoe")
