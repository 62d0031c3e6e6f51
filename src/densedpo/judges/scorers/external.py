"""A scorer that lives elsewhere: a learned reward model in an environment of its own, asked by one small contract.

A process reads one request a line from its standard input and writes one answer a line to its standard output; a server
takes the same request as the body of `POST /` and answers with the same body. All of it is JSON:

    request   {"id": "7f…", "video": "/…/ab.mp4", "caption": "a dog", "first_frame": 24, "end_frame": 48, "fps": 24.0}
    answer    {"id": "7f…", "scores": {"overall": 1.25, "visual_quality": 0.5}}   or   {"id": "7f…", "error": "why"}

Before its first answer a process writes, and a server gives for `GET /`, what it is:

    {"ready": true, "name": "videoreward", "scores": ["overall", "visual_quality"]}

Whatever breaks the contract (an end of the process, silence, no JSON, no number) costs a new start and one more try.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from densedpo.errors import UserError
from densedpo.judges.scorers.protocol import About, DeclinedError, ScorerError, Shown

TRIES = 2  # of one request


class BrokenContractError(Exception):
    """What came back is no answer; the channel is not to be trusted any more."""


class Channel(Protocol):
    """A way to a server. Every method may raise BrokenContractError."""

    def hello(self) -> Any:
        """What the server says of itself; starts it where there is something to start."""
        ...

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The decoded answer to a request."""
        ...

    def close(self) -> None:
        """Let go; `hello` opens it again."""
        ...


class ExternalScorer:
    """Asks a server for `score`, one of the numbers that it gives, where more is better."""

    def __init__(self, name: str, channel: Channel, score: str = "overall", version: str = "1") -> None:
        self.version, self._channel, self._score, self._open = version, channel, score, False
        self.about = About(
            name=name,
            low=-math.inf,
            high=math.inf,
            better="higher",
            unit="whatever the model's makers say",
            source="a server behind the contract of judges/scorers/external.py",
            sees="what the model was trained to see",
            blind_to="unknown: run `densedpo agreement` and its static test on it",
            stillness="unknown",
        )

    def score(self, shown: Shown) -> float:
        """The number. Raises DeclinedError if the server cannot score this, ScorerError if it broke the contract twice.

        Raises UserError if the server does not start or has no number of that name.
        """
        request = {**asdict(shown), "video": str(shown.video.resolve())}
        for last in (False, True):
            self._ensure_open()
            try:
                return self._number(self._channel.ask(request), shown.id)
            except BrokenContractError as error:
                self.close()
                if last:
                    raise ScorerError(f"{self.about.name} {error}, {TRIES} times") from None
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the server if we started it."""
        self._open = False
        self._channel.close()

    def _ensure_open(self) -> None:
        if self._open:
            return
        try:
            hello = self._channel.hello()
        except BrokenContractError as error:
            self._channel.close()
            raise UserError(
                f"the scorer {self.about.name} did not start: it {error}; run it by hand to see why"
            ) from None
        scores = hello.get("scores") if isinstance(hello, dict) and hello.get("ready") is True else None
        if not isinstance(scores, list):
            self._channel.close()
            raise UserError(
                f'the scorer {self.about.name} said {shortened(hello)} first, but must say {{"ready": true, "scores": '
                "[names]}; see docs/agreement.md"
            )
        if self._score not in scores:
            self._channel.close()
            raise UserError(
                f"the scorer {self.about.name} gives no {self._score}; choose one with --score: "
                f"{', '.join(map(str, scores))}"
            )
        self._open = True

    def _number(self, answer: Any, id: str) -> float:
        if not isinstance(answer, dict) or answer.get("id") != id:
            raise BrokenContractError(f"answered {shortened(answer)} to the request {id}")
        if "error" in answer:
            raise DeclinedError(f"{self.about.name} cannot score this: {shortened(answer['error'])}")
        scores = answer.get("scores")
        number = scores.get(self._score) if isinstance(scores, dict) else None
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise BrokenContractError(f"gave no finite number for {self._score} in {shortened(answer)}")
        return float(number)


def decoded(line: str | bytes) -> Any:
    """The JSON of an answer. Raises BrokenContractError for anything else."""
    try:
        return json.loads(line)
    except ValueError:
        raise BrokenContractError(f"answered {shortened(line)}, which is no JSON") from None


def shortened(value: Any) -> str:
    """At most 200 characters of it, for messages."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
