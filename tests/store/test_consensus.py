"""Many labels to one: hand-worked votes, and what must hold for all of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_rows import label, pair

from densedpo.errors import UserError
from densedpo.store.consensus import (
    ConsensusPolicy,
    SegmentLabels,
    consensus,
    global_consensus,
    is_mixed,
    majority_vote,
    nontie_share,
)
from densedpo.store.schema import Label
from densedpo.store.segments import segment_grid

GRID = segment_grid(33, 8, 1)
POLICY = ConsensusPolicy()
CONFIDENT = ConsensusPolicy(confidence_weights=True)


def votes(choices: str, segment: int | None = 0, confidence: float | None = None, **changes: Any) -> list[Label]:
    """One label by each of several annotators: 'a', 'b', 't' for tie, 's' for skip."""
    names = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
    return [
        label(pair(), segment, names[choice], f"annotator {number}", confidence=confidence, **changes)
        for number, choice in enumerate(choices)
    ]


def assert_same(left: SegmentLabels, right: SegmentLabels) -> None:
    np.testing.assert_array_equal(left.sign, right.sign)
    np.testing.assert_array_equal(left.weight, right.weight)
    np.testing.assert_array_equal(left.labelled, right.labelled)


@pytest.mark.parametrize(
    ("choices", "sign"),
    [
        *[("a", 1), ("b", -1), ("t", 0), ("aab", 1), ("abb", -1), ("ab", 0)],
        *[("at", 0), ("att", 0), ("aat", 1), ("aabbt", 0), ("bst", 0), ("bss", -1)],
    ],
)
def test_the_choice_of_most_wins_and_a_draw_is_a_tie(choices: str, sign: int) -> None:
    result = consensus(votes(choices), GRID, POLICY)
    assert result.sign.tolist() == [sign, 0, 0, 0]
    assert result.weight.tolist() == [1, 0, 0, 0]


def test_a_tie_is_labelled_and_a_skip_is_not() -> None:
    result = consensus([*votes("t", 0), *votes("s", 1), *votes("a", 2)], GRID, POLICY)
    assert result.sign.tolist() == [0, 0, 1, 0]
    assert result.labelled.tolist() == [True, False, True, False]
    assert result.weight.tolist() == [1, 0, 1, 0]


def test_confidence_weight_is_net_agreement_times_mean_stated_confidence() -> None:
    sure = label(pair(), 0, "a", "annotator 3", confidence=0.4)
    mixed = [*votes("aab", confidence=0.8), sure]  # (3 - 1) / 4 times (0.8 * 3 + 0.4) / 4
    assert consensus(mixed, GRID, CONFIDENT).weight[0] == pytest.approx(0.5 * 0.7)
    assert consensus(votes("aat"), GRID, CONFIDENT).weight[0] == pytest.approx(2 / 3)  # nobody stated any
    assert consensus(votes("aaa"), GRID, CONFIDENT).weight[0] == 1


def test_only_the_policys_annotators_and_aspect_count() -> None:
    labels = [*votes("abb"), *votes("b", 1, aspect="motion")]
    one = consensus(labels, GRID, ConsensusPolicy(annotators=("annotator 0",)))
    assert one.sign.tolist() == [1, 0, 0, 0]
    motion = consensus(labels, GRID, ConsensusPolicy(aspect="motion"))
    assert motion.sign.tolist() == [0, -1, 0, 0]


def test_an_annotator_counts_once_with_the_latest_label() -> None:
    early = replace(label(pair(), 0, "a", assignment="1"), created="2026-01-01T00:00:00+00:00")
    late = replace(label(pair(), 0, "b", assignment="2"), created="2026-01-02T00:00:00+00:00")
    assert consensus([late, early], GRID, POLICY).sign[0] == -1


def test_a_superseded_label_does_not_count() -> None:
    wrong = label(pair(), 0, "a")
    unsure = label(pair(), 0, "skip", supersedes=wrong.id)
    assert consensus([wrong, unsure], GRID, POLICY).labelled[0] == np.False_


def test_whole_video_labels_are_counted_apart() -> None:
    labels = [*votes("bba", None), *votes("a", 0)]
    assert global_consensus(labels, POLICY) == (-1, 1.0)
    assert global_consensus(labels, CONFIDENT) == (-1, pytest.approx(1 / 3))
    assert consensus(labels, GRID, POLICY).sign.tolist() == [1, 0, 0, 0]
    assert global_consensus(votes("a", 0), POLICY) is None
    assert global_consensus(votes("s", None), POLICY) is None


def test_labels_on_another_grid_are_refused() -> None:
    with pytest.raises(UserError, match=r"segments of 2\.0 s"):
        consensus(votes("a", segment_seconds=2), GRID, POLICY)
    with pytest.raises(UserError, match="on segment 4, but its video has only 4"):
        consensus(votes("a", 4), GRID, POLICY)


def from_signs(*signs: int | None) -> SegmentLabels:
    labels = [each for index, sign in enumerate(signs) if sign is not None for each in votes("tab"[sign], index)]
    return consensus(labels, segment_grid(8 * len(signs), 8, 1), POLICY)


@pytest.mark.parametrize(
    ("signs", "vote", "share", "mixed"),
    [
        ((1, 0, 0, 0), 1, 0.25, False),
        ((1, -1, None, None), 0, 1.0, True),
        ((1, -1, -1, 0), -1, 0.75, True),
        ((None, None, None, -1), -1, 1.0, False),
        ((0, 0, None, None), 0, 0.0, False),
        ((None, None, None, None), 0, 0.0, False),
    ],
)
def test_what_a_pair_says_as_a_whole(signs: tuple[int | None, ...], vote: int, share: float, mixed: bool) -> None:
    labels = from_signs(*signs)
    assert (majority_vote(labels), nontie_share(labels), is_mixed(labels)) == (vote, share, mixed)


opinions = st.lists(
    st.builds(
        lambda segment, choice, name, confidence: label(pair(), segment, choice, name, confidence=confidence),
        st.sampled_from([0, 1, 2, 3, None]),
        st.sampled_from(["a", "b", "tie", "skip"]),
        st.sampled_from(["ann", "bob", "cleo", "dan"]),
        st.none() | st.floats(0, 1),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)
policies = st.builds(ConsensusPolicy, confidence_weights=st.booleans())


@given(opinions, policies)
def test_swapping_a_and_b_negates_the_sign_and_keeps_the_weight(labels: list[Label], policy: ConsensusPolicy) -> None:
    other = {"a": "b", "b": "a"}
    swapped = [replace(each, choice=other.get(each.choice, each.choice)) for each in labels]
    before, after = consensus(labels, GRID, policy), consensus(swapped, GRID, policy)
    assert_same(after, SegmentLabels(-before.sign, before.weight, before.labelled))
    assert majority_vote(after) == -majority_vote(before)


@given(opinions, policies, st.integers(0, 3), st.sampled_from(["ann", "eve"]))
def test_adding_a_skip_changes_nothing(labels: list[Label], policy: ConsensusPolicy, segment: int, name: str) -> None:
    skip = label(pair(), segment, "skip", name, assignment="later")
    assert_same(consensus([*labels, skip], GRID, policy), consensus(labels, GRID, policy))


@given(opinions, policies, st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(labels: list[Label], policy: ConsensusPolicy, random: Any) -> None:
    shuffled = random.sample(labels, len(labels))
    assert_same(consensus(shuffled, GRID, policy), consensus(labels, GRID, policy))
