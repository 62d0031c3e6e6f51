"""How a judge's answers become one label: worked by hand."""

from pathlib import Path

import pytest
from label_pairs import add_pair, new_project

from densedpo.labels.vlm_verdict import join
from densedpo.store.judgements import (
    Judgement,
    add_judgements,
    count_judgements,
    find_judgements,
    has_answered,
    judgements,
    spent,
)


def answers(ab: str, ba: str = "", confidence: float = 0.8, pair: str = "p") -> list[Judgement]:
    """Votes as letters: a, b, t (tie), s (skip), in the order ab and in the order ba."""
    names = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
    return [
        Judgement(
            id=f"{pair}-{order}-{vote}",
            pair=pair,
            segment=0,
            segment_seconds=1.0,
            aspect="overall",
            judge="m",
            judge_version="v",
            order_shown=order,
            vote=vote,
            outcome="nonsense" if letter == "s" else "answered",
            choice=names[letter],
            confidence=None if letter == "s" else confidence,
            artifacts={"a": [], "b": ["noise"]},
            reason=f"because {vote}",
            raw="{}",
            tokens_in=10,
            tokens_out=1,
            milliseconds=5,
        )
        for order, letters in (("ab", ab), ("ba", ba))
        for vote, letter in enumerate(letters)
    ]


@pytest.mark.parametrize(
    ("ab", "ba", "choice", "confidence"),
    [
        ("a", "a", "a", 0.8),
        ("b", "b", "b", 0.8),
        ("t", "t", "tie", 0.8),
        ("a", "b", "tie", None),  # always the first: a habit
        ("b", "a", "tie", None),  # always the second
        ("a", "t", "tie", 0.4),  # half of the answers say so
        ("a", "s", "skip", None),
        ("s", "s", "skip", None),
        ("aab", "aaa", "a", 0.8 * 5 / 6),
        ("abt", "aaa", "tie", 0.8 * 1 / 6),  # no majority in the first order
        ("aas", "aaa", "a", 0.8),
        ("ass", "aaa", "skip", None),
        ("aa", "ab", "tie", None),
        ("a", "", "a", 0.8),  # one order only
        ("s", "", "skip", None),
        ("tts", "", "tie", 0.8),
    ],
)
def test_answers_together(ab: str, ba: str, choice: str, confidence: float | None) -> None:
    joint = join(answers(ab, ba))
    assert (joint.choice, joint.confidence) == (choice, None if confidence is None else pytest.approx(confidence))


def test_swapped_answers_give_the_swapped_label() -> None:
    swap = str.maketrans("ab", "ba")
    for ab, ba in (("aab", "aat"), ("abt", "bbb"), ("ast", "tta"), ("bbs", "bb")):
        there, back = join(answers(ab, ba)), join(answers(ab.translate(swap), ba.translate(swap)))
        assert back.choice == {"a": "b", "b": "a"}.get(there.choice, there.choice)
        assert back.confidence == there.confidence


def test_reasons_stand_in_the_comment() -> None:
    assert join(answers("a", "s")).comment == "ab: because 0 / ba: (nonsense)"


def test_answers_are_kept_once_and_found(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    pair = add_pair(project, 1).id
    rows = answers("ab", "ts", pair=pair)
    assert not has_answered(project, "m", "v")
    add_judgements(project, rows[:3])
    later = Judgement(**{**{name: getattr(rows[0], name) for name in Judgement.__slots__}, "choice": "tie"})
    add_judgements(project, [*rows, later])
    assert sorted(judgements(project), key=lambda row: row.id) == sorted(rows, key=lambda row: row.id)
    assert find_judgements(project, [rows[0].id, "x"]) == {rows[0].id: rows[0]}
    assert list(judgements(project, judge="other")) == [] and len(list(judgements(project, pair=pair))) == 4
    assert count_judgements(project, "v", [pair]) == {(pair, 0, "overall"): 4}
    assert count_judgements(project, "w", [pair]) == {}
    total = spent(project, "m")
    assert (total.answers, total.tokens_in, total.tokens_out) == (4, 40, 4)
    assert has_answered(project, "m", "v") and not has_answered(project, "m", "w")
