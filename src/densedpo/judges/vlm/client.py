"""A judge behind an OpenAI-compatible server: one request, sent again after faults, within the rate limits.

The SDK's own retries are off: ours wait as the server says, are counted against the rate limits, and know which answers
cost money.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Mapping
from typing import Any, Self

from densedpo.errors import UserError
from densedpo.judges.vlm.answer import NoCompletionError, Verdict, is_filtered, read_completion
from densedpo.judges.vlm.protocol import UnansweredError
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings, api_key
from densedpo.store.schema import content_id

try:
    import openai
    from aiolimiter import AsyncLimiter
except ModuleNotFoundError as _error:
    raise UserError(f"a judge behind a server needs the package {_error.name}; pip install 'densedpo[vlm]'") from None

FIRST_WAIT, LONGEST_WAIT, LONGEST_ORDERED_WAIT = 0.5, 30.0, 120.0  # seconds
RETRIED = {408, 409, 425, 429}
WRONG_SETTINGS = {401: "refuses the key", 403: "refuses access", 404: "knows no such model or address"}
GIVE_UP = 3  # questions in a row, at least
TRIES_TO_REACH = 3  # before anything has answered at all


class _Fault(Exception):  # noqa: N818 (it is no error yet)
    """One attempt failed in a way that may pass. `wait`: seconds, as the server ordered."""

    def __init__(self, reason: str, wait: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.reached = wait, reached


class ServerJudge:
    """Asks a server. `proven`: it has answered in this project before, so a refused request is that request's fault."""

    def __init__(self, settings: JudgeSettings, proven: bool) -> None:
        key = api_key(settings)
        self.settings = settings
        self._secret = key
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key or "none", max_retries=0, timeout=settings.timeout
        )
        self._requests = _limiter(settings.requests_per_minute)
        self._tokens = _limiter(settings.tokens_per_minute)
        self._proven = proven
        self._reached = proven
        self._in_vain = 0  # questions in a row that were given up

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, question: Question, tokens: int) -> Verdict:
        """As `Judge.ask`; a request is sent at most 1 + `retries` times."""
        body = question.body(self.settings)
        for attempt in range(self.settings.retries + 1):
            await self._wait_for_turn(tokens + self.settings.max_tokens)
            try:
                return await self._once(body)
            except _Fault as fault:
                self._reached |= fault.reached
                if not self._reached and attempt + 1 >= TRIES_TO_REACH:
                    raise UserError(
                        f"{self.settings.base_url} cannot be reached ({fault}); is the server up, and is "
                        "base_url right? Then run again"
                    ) from None
                reason = str(fault)
                if attempt < self.settings.retries:
                    await asyncio.sleep(wait_before_retry(attempt, fault.wait, question.id))
        self._in_vain += 1
        if self._in_vain >= max(GIVE_UP, self.settings.concurrency):
            raise UserError(
                f"{self.settings.base_url} has not answered {self._in_vain} questions in a row ({reason}), each tried "
                f"{self.settings.retries + 1} times; run again when it is well, what was answered is kept"
            )
        raise UnansweredError(reason)

    async def _wait_for_turn(self, tokens: int) -> None:
        if self._requests:
            await self._requests.acquire()
        if self._tokens:  # in parts, since one question may be larger than the limiter's bucket
            left = float(tokens)
            while left > 0:
                part = min(left, self._tokens.max_rate)
                await self._tokens.acquire(part)
                left -= part

    async def _once(self, body: Mapping[str, Any]) -> Verdict:
        """One attempt. Raises _Fault, or UserError for what no attempt can mend."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.timeout):  # the SDK's own limit is for each read
                # As `extra_body` it goes out as it is; as arguments the SDK would walk through all of it, 20 ms each.
                create = self._client.chat.completions.with_raw_response.create
                response = await create(model=self.settings.model, messages=[], extra_body=body)
                raw = self._without_secret(response.text)
        except (TimeoutError, openai.APITimeoutError):
            raise _Fault(f"no answer within {self.settings.timeout:g} s") from None
        except openai.APIStatusError as error:
            return self._status(error.status_code, self._without_secret(error.response.text), error.response.headers)
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise _Fault(f"the connection failed, {cause}", reached=cause != "ConnectError") from None
        try:
            verdict = read_completion(raw, round(1000 * (time.monotonic() - started)))
        except NoCompletionError:
            raise _Fault("the answer is no chat completion") from None
        self._proven = self._reached = True
        self._in_vain = 0
        return verdict

    def _status(self, status: int, text: str, headers: Mapping[str, str]) -> Verdict:
        """What an HTTP error means: a fault, a mistake in the settings, or a request that this server will not take."""
        told = " ".join(text.split())[:300]
        if status == 402 or (status == 429 and "insufficient_quota" in text):
            raise UserError(f"{self.settings.base_url} says that the account is used up ({told}); mend that, run again")
        if status in RETRIED or status >= 500:
            raise _Fault(f"HTTP {status}", ordered_wait(headers))
        if is_filtered(text):
            return Verdict("filtered", text)
        if status in WRONG_SETTINGS or not self._proven:
            what = WRONG_SETTINGS.get(status, "does not take the request")
            raise UserError(f"{self.settings.base_url} {what} (HTTP {status}: {told}); mend the judge's settings")
        return Verdict("rejected", text)

    def _without_secret(self, text: str) -> str:
        """What the server says, without the key if it repeats it."""
        return text.replace(self._secret, "[key]") if self._secret else text


def wait_before_retry(attempt: int, ordered: float | None, id: str) -> float:
    """Seconds to wait: what the server ordered, up to two minutes; else twice as long each time, up to 30 s.

    Requests that failed together come back apart: a part of the wait is a function of the question and the attempt.
    """
    if ordered is not None:
        return min(ordered, LONGEST_ORDERED_WAIT)
    share = int(content_id("retry", id, attempt)[:8], 16) / 0xFFFFFFFF
    return float(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)) * (0.75 + 0.25 * share)


def ordered_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After (a number or a date) or retry-after-ms tells to wait; None without one."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name) or "") * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after") or "")
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def _limiter(per_minute: float | None) -> AsyncLimiter | None:
    """A limiter whose burst is what a second allows, so that no minute sees much more than its share."""
    if per_minute is None:
        return None
    burst = max(1.0, per_minute / 60)
    return AsyncLimiter(burst, 60 * burst / per_minute)
