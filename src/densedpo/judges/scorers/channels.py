"""The two ways to a scorer that lives elsewhere: a process of ours, or a server somebody else started."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, Any

from densedpo.errors import UserError
from densedpo.judges.scorers.external import BrokenContractError, decoded, shortened

LINE_LIMIT = 1 << 20  # characters; an answer is short
STOP_SECONDS = 2.0  # of patience with each way of asking a process to end


class ProcessChannel:
    """Starts `command` and talks to it line by line; starts it again after `close`.

    `timeout` seconds are allowed for an answer, `start_timeout` for the first line: loading a model takes long.
    """

    def __init__(self, command: str, timeout: float, start_timeout: float) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UserError(f"--command {command!r} is no command line ({error}); mend its quotes") from None
        if not self._command:
            raise UserError("--command is empty; give the command that starts the scorer")
        self._timeout, self._start_timeout = timeout, start_timeout
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: IO[bytes] | None = None

    def hello(self) -> Any:
        """Start the process and wait for its first line."""
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (it lives until `close`)
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # so that whatever it starts ends with it
            )
        except OSError as error:
            raise BrokenContractError(f"could not be started ({error})") from None
        self._process, self._lines = process, queue.Queue()
        threading.Thread(target=_forward, args=(process.stdout, self._lines), daemon=True).start()
        return self._next(self._start_timeout)

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Send one line and wait for one."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise BrokenContractError(f"ended{self._last_words()}") from None
        return self._next(self._timeout)

    def close(self) -> None:
        """End the process and all that it started: closing its input asks, a signal insists."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _next(self, timeout: float) -> Any:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise BrokenContractError(f"was silent for {timeout:g} seconds{self._last_words()}") from None
        if line is None:
            raise BrokenContractError(f"ended{self._last_words()}")
        return decoded(line)

    def _last_words(self) -> str:
        """The end of what the process wrote to its standard error."""
        if self._errors is None:
            return ""
        file = self._errors.fileno()
        size = os.fstat(file).st_size
        words = os.pread(file, 2000, max(0, size - 2000)).decode(errors="replace").strip().splitlines()
        return f" (it last said: {shortened(words[-1])})" if words else ""


class HttpChannel:
    """Talks to a server at `url`, which somebody else starts and ends."""

    def __init__(self, url: str, timeout: float) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UserError(f"--server must begin with http:// or https://, got {url}")
        self._url, self._timeout = url, timeout

    def hello(self) -> Any:
        """What the server says of itself."""
        return self._send(urllib.request.Request(self._url))

    def ask(self, request: Mapping[str, Any]) -> Any:
        """One request, one answer."""
        body, headers = json.dumps(request).encode(), {"Content-Type": "application/json"}
        return self._send(urllib.request.Request(self._url, data=body, headers=headers))

    def close(self) -> None:
        """There is nothing open between two requests."""

    def _send(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return decoded(answer.read(LINE_LIMIT))
        except urllib.error.HTTPError as error:
            with error:
                raise BrokenContractError(
                    f"answered with status {error.code}: {shortened(error.read(2000).decode(errors='replace'))}"
                ) from None
        except TimeoutError:
            raise BrokenContractError(f"was silent for {self._timeout:g} seconds") from None
        except (OSError, ValueError, http.client.HTTPException) as error:  # refused, reset, no port, half an answer
            raise BrokenContractError(f"could not be reached ({error})") from None


def _forward(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    """Put every line of the stream into the queue, and None at its end; then close it."""
    assert stream is not None
    with stream:
        while line := stream.readline(LINE_LIMIT):
            lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """Closing its input asks a process to end; signals to it and to all that it started insist."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    for insist in (signal.SIGTERM, signal.SIGKILL, None):
        try:
            process.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if insist is not None:
                os.killpg(process.pid, insist)
