"""Many answers of a judge about one segment become one choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from densedpo.store.judgements import Judgement

LONGEST_REASON = 300  # characters of each reason in a label's comment; the judgements hold them whole


@dataclass(frozen=True, slots=True)
class Joint:
    """What the answers say together: a, b, tie or skip."""

    choice: str
    confidence: float | None
    comment: str


def join(answers: Sequence[Judgement]) -> Joint:
    """One choice from answers in one or both orders, with any number of votes in each.

    In each order the choice of more than half of the votes that were no abstention counts, else it is a tie. An order
    in which more than half abstained has no opinion, and without the opinion of every order that was asked the choice
    is skip. Two orders that disagree are a tie: what changes with the order is the judge's habit, not the clips
    (DenseDPO, arXiv 2506.03517). Confidence is the mean that was stated for the choice, times the share of the votes
    that made it; None where nobody made it.
    """
    orders = sorted({answer.order_shown for answer in answers})
    opinions = {_opinion([each for each in answers if each.order_shown == order]) for order in orders}
    comment = " / ".join(_told(answer) for answer in sorted(answers, key=lambda each: (each.order_shown, each.vote)))
    if "skip" in opinions:
        return Joint("skip", None, comment)
    choice = opinions.pop() if len(opinions) == 1 else "tie"
    valid = [answer for answer in answers if answer.choice != "skip"]
    stated = [answer.confidence for answer in valid if answer.choice == choice and answer.confidence is not None]
    return Joint(choice, sum(stated) / len(valid) if stated else None, comment)


def _opinion(votes: Sequence[Judgement]) -> str:
    choices = [vote.choice for vote in votes if vote.choice != "skip"]
    if 2 * len(choices) < len(votes) or not choices:
        return "skip"
    return next((choice for choice in ("a", "b") if 2 * choices.count(choice) > len(choices)), "tie")


def _told(answer: Judgement) -> str:
    words = answer.reason[:LONGEST_REASON] if answer.outcome == "answered" else f"({answer.outcome})"
    return f"{answer.order_shown}: {words}"
