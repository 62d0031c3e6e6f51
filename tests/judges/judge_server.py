"""A real HTTP server that speaks the chat API and looks at the JPEGs it receives. It can lie, favour, and fail."""

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.float64]  # [H, W] grey levels 0..255
Clips = tuple[list[Picture], list[Picture]]
Opinion = Callable[[Clips], str]
FAULTS = (
    *("rate limit", "error 500", "error 503", "timeout", "dropped", "half a body", "half an answer", "refusal", "html"),
    "cut off",
)
TRANSIENT = {"rate limit", "error 500", "error 503", "timeout", "dropped", "half a body", "html"}  # no answer is given
SLEEP = 4.0  # seconds of a "timeout"; clients of these tests wait less


@dataclass
class Request:
    """One request as it came, and what it got: the name of a fault, or ''."""

    key: str  # digest of the body
    body: dict[str, Any]
    authorization: str
    fault: str
    time: float


@dataclass
class JudgeServer:
    """Use it as a context manager. `fault(key, attempt)` says what goes wrong with a request, or ''."""

    opinion: Opinion
    fault: Callable[[str, int], str] = lambda key, attempt: ""
    latency: float = 0.0
    content: Callable[[str], str] | None = None  # from the choice to what the model writes
    retry_after: str = "0.05"
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "JudgeServer":
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def answered(self) -> Counter[str]:
        """How often each request was answered with a completion, good or bad."""
        return Counter(request.key for request in self.requests if request.fault not in TRANSIENT)

    def note(self, raw: bytes, authorization: str) -> Request:
        key = hashlib.sha256(raw).hexdigest()
        with self._lock:
            attempt = self._attempts[key]
            self._attempts[key] += 1
            request = Request(key, json.loads(raw), authorization, self.fault(key, attempt), time.monotonic())
            self.requests.append(request)
        return request

    def write(self, body: dict[str, Any]) -> str:
        """What the model writes about the pictures in this request."""
        choice = self.opinion(clips_in(body))
        return self.content(choice) if self.content else verdict(choice)


def verdict(choice: str, confidence: float = 0.9, reason: str = "measured") -> str:
    """An answer as it is asked for."""
    seen = {"artifacts_first": [], "artifacts_second": ["noise"]} if choice == "first" else {}
    seen = seen or {"artifacts_first": [], "artifacts_second": []}
    return json.dumps({**seen, "reason": reason, "choice": choice, "confidence": confidence})


def thirty_percent(key: str, attempt: int) -> str:
    """Three requests in ten fail, each kind of fault as often; a function of the request and the attempt."""
    draw = int(hashlib.sha256(f"{key}/{attempt}".encode()).hexdigest()[:8], 16) / 2**32
    return FAULTS[int(draw / 0.3 * len(FAULTS))] if draw < 0.3 else ""


def clips_in(body: dict[str, Any]) -> Clips:
    """The pictures of both clips, by the words before them; whatever the layout."""
    clips: Clips = ([], [])
    words = ""
    for part in body["messages"][1]["content"]:
        if part["type"] == "text":
            words = part["text"]
            continue
        url = part[part["type"]]["url"]
        for encoded in url.split(";base64,")[1].split(","):
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L"), np.float64)
            if words.startswith("At "):
                half = (picture.shape[1] - 8) // 2
                clips[0].append(picture[:, :half])
                clips[1].append(picture[:, -half:])
            else:
                clips[0 if words.startswith("First clip") else 1].append(picture)
    return clips


def look(clips: Clips) -> str:
    """The clip with fewer measured defects: jumps of brightness, 8 x 8 blocks, noise, blur. Tie if both are alike."""
    one, other = (np.array([_measures(each) for each in clip]).mean(axis=0) for clip in clips)
    jumps = [_jumps(clip) for clip in clips]
    for first, second, limit in (
        (jumps[0], jumps[1], 6.0),
        (one[0], other[0], 0.35),  # blocks
        (one[1], other[1], 9.0),  # noise
        (-one[2], -other[2], 0.15),  # blur, as minus sharpness
    ):
        if abs(first - second) > limit:
            return "second" if first > second else "first"
    return "tie"


def _jumps(clip: list[Picture]) -> float:
    """How much the brightness jumps again and again; a single cut counts for nothing."""
    steps = np.abs(np.diff([each.mean() for each in clip]))
    return float(np.percentile(steps, 65)) if steps.size else 0.0


def _measures(picture: Picture) -> tuple[float, float, float]:
    across = np.abs(np.diff(picture, axis=1))
    edges = np.arange(across.shape[1]) % 8 == 7
    blocks = across[:, edges].mean() / (across[:, ~edges].mean() + 1.0)
    laplace = 4 * picture[1:-1, 1:-1] - picture[:-2, 1:-1] - picture[2:, 1:-1] - picture[1:-1, :-2] - picture[1:-1, 2:]
    sharp = np.log(1 + np.percentile(np.abs(laplace), 98))
    return float(blocks), float(np.percentile(np.abs(laplace), 25)), float(sharp)


def _handler(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            request = server.note(raw, self.headers.get("Authorization", ""))
            time.sleep(server.latency)
            if request.fault == "rate limit":
                self._send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": server.retry_after})
            elif request.fault.startswith("error "):
                self._send(int(request.fault[-3:]), f"no luck with {request.authorization}".encode())
            elif request.fault == "timeout":
                time.sleep(SLEEP)
                self.close_connection = True
            elif request.fault == "dropped":
                self.close_connection = True
            elif request.fault == "html":
                self._send(200, b"<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"})
            elif request.fault == "half a body":
                self._send(200, self._completion(request)[:70])
            else:
                self._send(200, self._completion(request))

        def _completion(self, request: Request) -> bytes:
            written = server.write(request.body)
            message: dict[str, Any] = {"role": "assistant", "content": written}
            reason = "stop"
            if request.fault == "half an answer":
                message["content"] = written[: len(written) // 2]
            elif request.fault == "refusal":
                message = {"role": "assistant", "content": None, "refusal": "I will not look at this."}
            elif request.fault == "cut off":
                message["content"], reason = written[:20], "length"
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            usage = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
            top = {"id": f"chat-{request.key[:8]}", "object": "chat.completion", "created": 1, "model": "measured"}
            return json.dumps({**top, "choices": [choice], "usage": usage}).encode()

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
