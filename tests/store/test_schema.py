"""Ids are the hashes they claim to be, and labels refuse values that no label can have."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_rows import clip, label, pair

from densedpo.errors import UserError
from densedpo.store.schema import NATURAL_KEY, Label, content_id, label_id, recipe_id, split_of
from densedpo.store.tables import content_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_content_id_is_the_digest_of_canonical_json() -> None:
    expected = hashlib.sha256(b'["x",{"a":1,"b":[2.5,null]}]').hexdigest()[:32]
    assert content_id("x", {"b": [2.5, None], "a": 1}) == expected


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_in_a_recipe_does_not_matter(recipe: dict[str, Any]) -> None:
    assert recipe_id(recipe) == recipe_id(dict(reversed(recipe.items())))


def test_a_recipe_must_be_plain_numbers() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        recipe_id({"eta": float("nan")})


def test_splits_are_90_5_5() -> None:
    splits = [split_of(content_id(number)) for number in range(20_000)]
    assert splits.count("train") == pytest.approx(18_000, abs=150)
    assert splits.count("validation") == pytest.approx(1_000, abs=120)
    assert splits.count("test") == pytest.approx(1_000, abs=120)


def test_a_label_is_identified_by_its_natural_key_alone() -> None:
    first = label(pair(), choice="a", confidence=0.5, comment="")
    assert label(pair(), choice="b", confidence=None, comment="other").id == first.id
    assert first.id == label_id(**{key: getattr(first, key) for key in NATURAL_KEY})
    changed: list[dict[str, Any]] = [
        {"segment": 1},
        {"segment": None},
        {"segment_seconds": 2},
        {"aspect": "motion"},
        {"annotator_kind": "vlm"},
        {"annotator": "bob"},
        {"annotator_version": "2"},
        {"assignment": "batch 1"},
        {"supersedes": first.id},
    ]
    ids = {label(pair(), **change).id for change in changed} | {label(pair(1)).id, first.id}
    assert len(ids) == len(changed) + 2


@pytest.mark.parametrize(
    "bad",
    [
        {"choice": "c"},
        {"segment": -1},
        {"segment_seconds": 0},
        {"segment_seconds": float("nan")},
        {"confidence": 1.5},
        {"annotator_kind": "robot"},
        {"order_shown": "aa"},
    ],
)
def test_values_that_no_label_can_have(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        label(pair(), **bad)


def test_whole_numbers_are_the_same_content_as_reals() -> None:
    assert content_of(clip(fps=8)) == content_of(clip(fps=8.0))
    assert content_of(clip(fps=8)) != content_of(clip(fps=9))
    assert content_of(clip(origin="x.mp4", created="then")) == content_of(clip())


def test_rows_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Label.__setattr__(label(pair()), "choice", "b")
