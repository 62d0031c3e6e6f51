"""Tokens and money: how much is spent, how much a question will cost, and when to stop."""

from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.store.judgements import Spent

MILLION = 1_000_000
CAUTION = 2.0  # how much larger than counted a question may be, as long as no answer has shown it


class BudgetSpentError(Exception):
    """The next question might cost more than is left; the text says of what, and how much is spent."""


class Meter:
    """Counts what one model spent in one project, and keeps what is under way within the budget.

    A question may be asked if, after all that is under way gave its longest possible answer, there is enough for it.
    """

    def __init__(self, settings: JudgeSettings, before: Spent) -> None:
        self.settings = settings
        self.tokens_in, self.tokens_out = before.tokens_in, before.tokens_out
        self._under_way: dict[str, tuple[int, int]] = {}
        self._estimated = self._measured = 0  # of the questions answered in this run

    @property
    def money(self) -> float | None:
        """What was spent; None without prices."""
        return cost(self.settings, self.tokens_in, self.tokens_out)

    def estimate(self, question: Question) -> int:
        """Tokens that the question asks: counted by rule, corrected by what the questions before it really took."""
        correction = self._measured / self._estimated if self._estimated else CAUTION
        return round(question.tokens_in(self.settings) * correction)

    def reserve(self, question: Question) -> None:
        """Set the question's tokens aside. Raises BudgetSpentError if they are not there."""
        asked = self.estimate(question), self.settings.max_tokens
        all_in = self.tokens_in + sum(each[0] for each in self._under_way.values()) + asked[0]
        all_out = self.tokens_out + sum(each[1] for each in self._under_way.values()) + asked[1]
        settings, money = self.settings, cost(self.settings, all_in, all_out)
        if settings.budget_tokens is not None and all_in + all_out > settings.budget_tokens:
            used = self.tokens_in + self.tokens_out
            raise BudgetSpentError(f"budget_tokens {settings.budget_tokens} ({used} are spent)")
        if settings.budget_money is not None and money is not None and money > settings.budget_money:
            raise BudgetSpentError(f"budget_money {settings.budget_money:g} ({self.money or 0:.4g} are spent)")
        self._under_way[question.id] = asked

    def release(self, question: Question) -> None:
        """The question is under way no longer."""
        self._under_way.pop(question.id, None)

    def add(self, question: Question, tokens_in: int, tokens_out: int) -> None:
        """The question was answered, and took this."""
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        if tokens_in:
            self._estimated += question.tokens_in(self.settings)
            self._measured += tokens_in


def cost(settings: JudgeSettings, tokens_in: float, tokens_out: float) -> float | None:
    """Money for these tokens; None if a price is not set."""
    if settings.price_in is None or settings.price_out is None:
        return None
    return (tokens_in * settings.price_in + tokens_out * settings.price_out) / MILLION
