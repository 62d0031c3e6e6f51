"""What a judge does, whatever is behind it."""

from typing import Protocol

from densedpo.judges.vlm.answer import Verdict
from densedpo.judges.vlm.question import Question


class UnansweredError(Exception):
    """The question was not answered, for the reason in the text; it can be asked again later."""


class Judge(Protocol):
    """Whatever answers questions."""

    async def ask(self, question: Question, tokens: int) -> Verdict:
        """The verdict on a question of about so many tokens.

        Raises UnansweredError if there is none, UserError if there can be none for any question.
        """

    async def close(self) -> None:
        """Let go of connections."""
