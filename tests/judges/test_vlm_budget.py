"""The budget, by hand: what is under way counts as if it took all that it may."""

import itertools

import numpy as np
import pytest

from densedpo.judges.vlm import JudgeSettings
from densedpo.judges.vlm.frames import show
from densedpo.judges.vlm.meter import BudgetSpentError, Meter
from densedpo.judges.vlm.question import Question
from densedpo.store.judgements import Spent

JUDGE = JudgeSettings(base_url="http://x/v1", model="m", max_tokens=100, price_in=1.0, price_out=10.0)
NOTHING = Spent(0, 0, 0)


def questions() -> list[Question]:
    """Four of one size, which differ in their votes."""
    clip = np.zeros((2, 28, 28, 3), np.uint8)
    parts = show(clip, clip, [0.0, 0.5], JUDGE)
    return [
        Question.make(
            JUDGE, aspect="overall", order="ab", vote=vote, caption="", times=[0.0, 0.5], whole=False, parts=parts
        )
        for vote in range(4)
    ]


def reserved(meter: Meter, asked: list[Question]) -> int:
    """How many of these may be under way at a time."""
    for count, question in enumerate(asked):
        try:
            meter.reserve(question)
        except BudgetSpentError:
            return count
    return len(asked)


@pytest.mark.parametrize(("short", "allowed"), [(0, 3), (1, 2)])
@pytest.mark.parametrize("kind", ["tokens", "money"])
def test_what_is_under_way_is_set_aside_to_the_last_token(kind: str, short: int, allowed: int) -> None:
    asked = questions()
    tokens_in = Meter(JUDGE, NOTHING).estimate(asked[0])
    budget: dict[str, float] = {"budget_tokens": 3 * (tokens_in + 100) - short}
    if kind == "money":
        budget = {"budget_money": (3 * (tokens_in + 10 * 100) - short) / 1e6}
    meter = Meter(JUDGE.model_copy(update=budget), NOTHING)
    assert reserved(meter, asked) == allowed
    meter.release(asked[0])
    assert reserved(meter, asked[3:]) == 1


def test_what_was_spent_before_counts_and_an_answer_costs_what_it_took() -> None:
    asked = questions()
    tokens_in = Meter(JUDGE, NOTHING).estimate(asked[0])
    meter = Meter(JUDGE.model_copy(update={"budget_tokens": tokens_in + 100 + 7}), Spent(1, 5, 2))
    meter.reserve(asked[0])
    meter.release(asked[0])
    meter.add(asked[0], 1, 0)
    assert (meter.tokens_in, meter.tokens_out) == (6, 2)
    for used, question in itertools.pairwise(asked):  # counts are corrected by what the answers really took
        assert meter.estimate(question) == meter.estimate(used) == 1
    meter = Meter(JUDGE.model_copy(update={"budget_tokens": tokens_in + 100 + 6}), Spent(1, 5, 2))
    with pytest.raises(BudgetSpentError, match=r"budget_tokens \d+ \(7 are spent\)"):
        meter.reserve(asked[0])
