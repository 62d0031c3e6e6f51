"""Consensus that knows its annotators: by hand, and what must hold for every method."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_rows import label, pair

from densedpo.errors import UserError
from densedpo.store.consensus import ConsensusPolicy, Measured, consensus, global_consensus, support, votes_of
from densedpo.store.schema import Label
from densedpo.store.segments import segment_grid
from densedpo.store.voters import measured

GRID = segment_grid(33, 8, 1)
PAIRS = [pair(number) for number in range(6)]
NAMES = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
WEIGHTED = ConsensusPolicy(method="weighted")
DAWID_SKENE = ConsensusPolicy(method="dawid-skene")


def opinions(**choices: str) -> list[Label]:
    """Labels of each annotator on the segments of one pair after the other: 4 letters a pair, "-" for none."""
    places = list(product(PAIRS, range(4)))
    return [
        label(place[0], place[1], NAMES[choice], name)
        for name, text in choices.items()
        for choice, place in zip(text, places, strict=False)
        if choice != "-"
    ]


def of_pair(labels: list[Label], number: int, policy: ConsensusPolicy) -> list[int]:
    return consensus([each for each in labels if each.pair == PAIRS[number].id], GRID, policy).sign.tolist()


def test_accuracy_against_the_majority_of_the_others_by_hand() -> None:
    # ann and bob agree on all eight; cleo agrees with them on four of eight.
    labels = opinions(ann="aabbaabb", bob="aabbaabb", cleo="aabbbbaa")
    policy = measured(WEIGHTED, labels)
    assert policy.on_segments is not None and policy.on_videos is None
    # cleo: 4 of 8 right and 2 of 3 imagined ones. ann: the others (bob, cleo) agree with each other on four only.
    assert policy.on_segments.chosen["human/cleo"][0] == pytest.approx((6 / 11, 5 / 22, 5 / 22))
    assert policy.on_segments.chosen["human/ann"][1] == pytest.approx((1 / 14, 6 / 7, 1 / 14))
    assert policy.on_segments.prior == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_one_good_annotator_outweighs_two_bad_ones() -> None:
    gold = "aabbttabab" + "aabbttabab"
    labels = opinions(gold=gold, good=gold[:-4] + "aaaa", bad="abab" * 4 + "bbbb", worse="btbt" * 4 + "bbbb")
    others = [each for each in labels if each.annotator != "gold"]
    assert of_pair(others, 4, ConsensusPolicy()) == [-1, -1, -1, -1]
    assert of_pair(others, 4, measured(WEIGHTED, labels, gold="gold")) == [1, 1, 1, 1]


def test_weighted_votes_add_the_logarithms_of_the_odds() -> None:
    # Accuracy p and a flat prior make P(a) ~ product of p or (1 - p) / 2: by hand for one vote each way.
    labels = opinions(ann="aabb", bob="aabb", cleo="aaaa")
    policy = measured(WEIGHTED.model_copy(update={"confidence_weights": True}), labels)
    assert policy.on_segments is not None
    p = {name.split("/")[1]: rows[0][0] for name, rows in policy.on_segments.chosen.items()}
    for_b = p["ann"] * p["bob"] * (1 - p["cleo"]) / 2
    for_a = (1 - p["ann"]) / 2 * (1 - p["bob"]) / 2 * p["cleo"]
    for_tie = (1 - p["ann"]) / 2 * (1 - p["bob"]) / 2 * (1 - p["cleo"]) / 2
    result = consensus([each for each in labels if each.segment == 3], GRID, policy)
    assert result.sign[3] == -1
    assert result.weight[3] == pytest.approx((for_b - for_a) / (for_a + for_b + for_tie))


def test_dawid_skene_learns_that_one_annotator_says_tie_for_a_difference() -> None:
    truth = "abababababababababab"
    labels = opinions(ann=truth[:16], shy="t" * 20, bob=truth, cleo=truth[:16])
    assert of_pair(labels, 4, ConsensusPolicy()) == [0, 0, 0, 0]  # bob against shy: a draw
    assert of_pair(labels, 4, measured(DAWID_SKENE, labels)) == [1, -1, 1, -1]


def test_what_is_true_more_often_needs_weaker_votes() -> None:
    """Bayes' rule by hand: one vote for b, twice as likely where b is true as where a is, but a is true eight times in
    ten."""
    ann = ((0.6, 0.1, 0.3), (0.2, 0.2, 0.6), (0.3, 0.1, 0.6))
    known = Measured(prior=(0.8, 0.1, 0.1), chosen={"human/ann": ann})
    policy = DAWID_SKENE.model_copy(update={"on_segments": known})
    (vote,) = votes_of(opinions(ann="b"), policy)
    assert support([vote], policy) == pytest.approx((0.24 / 0.36, 0.06 / 0.36, 0.06 / 0.36))
    assert of_pair([vote], 0, policy)[0] == 1


def test_a_single_annotator_is_believed_by_every_method() -> None:
    labels = opinions(ann="abtsba")
    for policy in (WEIGHTED, DAWID_SKENE):
        result = consensus([each for each in labels if each.pair == PAIRS[0].id], GRID, measured(policy, labels))
        assert result.sign.tolist() == [1, -1, 0, 0]
        assert result.labelled.tolist() == [True, True, True, False]


def test_whole_videos_are_measured_apart() -> None:
    segments = opinions(ann="aabb", bob="aabb")
    whole = [label(each, None, "a", name) for each in PAIRS for name in ("ann", "bob", "cleo")]
    policy = measured(WEIGHTED, [*segments, *whole])
    assert policy.on_videos is not None and policy.on_segments is not None
    assert sorted(policy.on_videos.chosen) == ["human/ann", "human/bob", "human/cleo"]
    assert policy.on_videos.chosen["human/ann"][0][0] == pytest.approx(8 / 9)  # 6 of 6 right, and 2 of 3 imagined
    assert global_consensus([each for each in whole if each.pair == PAIRS[0].id], policy) == (1, 1.0)


def test_people_override_machines_where_they_have_an_opinion() -> None:
    people = opinions(ann="as--")
    machines = [replace(each, annotator_kind="vlm") for each in opinions(m1="bbb-", m2="bbb-")]
    labels = [*people, *machines]
    assert of_pair(labels, 0, ConsensusPolicy()) == [-1, -1, -1, 0]
    assert of_pair(labels, 0, ConsensusPolicy(humans_override=True)) == [1, -1, -1, 0]
    policy = measured(ConsensusPolicy(humans_override=True, method="dawid-skene"), labels)
    assert policy.on_segments is not None and len(policy.on_segments.chosen) == 3
    assert of_pair(labels, 0, policy)[0] == 1


def test_a_draw_can_stay_unlabelled() -> None:
    labels = opinions(ann="aaat", bob="abta")
    result = consensus(labels, GRID, ConsensusPolicy(draw="unlabelled"))
    assert result.labelled.tolist() == [True, False, False, False]
    assert result.weight.tolist() == [1, 0, 0, 0]
    whole = [label(PAIRS[0], None, "a", "ann"), label(PAIRS[0], None, "b", "bob")]
    assert global_consensus(whole, ConsensusPolicy(draw="unlabelled")) is None
    assert global_consensus(whole, ConsensusPolicy()) == (0, 1.0)


def test_too_little_confidence_stays_unlabelled() -> None:
    labels = opinions(ann="aaa", bob="aab", cleo="abt")
    result = consensus(labels, GRID, ConsensusPolicy(minimum_confidence=0.6))
    assert result.labelled.tolist() == [True, True, False, False]
    sure = measured(ConsensusPolicy(method="weighted", minimum_confidence=0.999), labels)
    assert not consensus(labels, GRID, sure).labelled.any()


def test_clear_errors() -> None:
    labels = opinions(ann="a")
    with pytest.raises(ValueError, match=r"call `voters\.measured` first"):
        consensus(labels, GRID, WEIGHTED)
    with pytest.raises(UserError, match="nobody named truth has labels on overall"):
        measured(WEIGHTED, labels, gold="truth")
    with pytest.raises(UserError, match="gold is for the method weighted, but the method is dawid-skene"):
        measured(DAWID_SKENE, labels, gold="ann")
    assert measured(ConsensusPolicy(), labels) == ConsensusPolicy()


names = st.sampled_from(["ann", "bob", "cleo"])
rows = st.builds(
    lambda number, segment, choice, name: label(PAIRS[number], segment, choice, name),
    st.integers(0, 1),
    st.sampled_from([0, 1, None]),
    st.sampled_from(["a", "b", "tie", "skip"]),
    names,
)
sets_of_rows = st.lists(rows, max_size=14, unique_by=lambda each: each.id)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sets_of_rows, st.sampled_from(["weighted", "dawid-skene"]), st.randoms(use_true_random=False))
def test_sides_and_order_do_not_matter(labels: list[Label], method: str, random: object) -> None:
    policy = ConsensusPolicy(method=method, confidence_weights=True)  # type: ignore[arg-type]
    other = {"a": "b", "b": "a"}
    swapped = [replace(each, choice=other.get(each.choice, each.choice)) for each in reversed(labels)]
    first = [each for each in labels if each.pair == PAIRS[0].id]
    last = [each for each in swapped if each.pair == PAIRS[0].id]
    before, after = consensus(first, GRID, measured(policy, labels)), consensus(last, GRID, measured(policy, swapped))
    np.testing.assert_array_equal(after.sign, -before.sign)
    np.testing.assert_allclose(after.weight, before.weight, atol=1e-6)
    np.testing.assert_array_equal(after.labelled, before.labelled)
