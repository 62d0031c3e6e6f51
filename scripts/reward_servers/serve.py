"""The skeleton of a scorer that `densedpo label reward --command …` or `--server …` can ask: the contract, no model.

Standard library only, plus PyAV in `segment_file`; Python 3.9 is enough, because reward models pin old environments. A
server is a file with one function that loads the model and returns a function from a request to scores:

    from serve import Request, serve
    def load(options): ...; return lambda request: {"overall": 1.0}
    serve("my-model", ["overall"], load)

Run as it is, it reads requests line by line from standard input; with `--http PORT` it listens on this machine.
Whatever the model prints goes to standard error, so that it cannot end up among the answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """Frames `first_frame` up to, not including, `end_frame` of the file `video` are to be scored."""

    id: str
    video: str
    caption: str
    first_frame: int
    end_frame: int
    fps: float


Score = Callable[[Request], "dict[str, float]"]


def serve(
    name: str,
    scores: list[str],
    load: Callable[[argparse.Namespace], Score],
    parser: argparse.ArgumentParser | None = None,
) -> None:
    """Load, then answer until the input ends, or for ever over HTTP.

    `load` gets the options that `parser` knows. What it returns may raise: then that request gets an error.
    """
    parser = parser or argparse.ArgumentParser(description=f"Serve {name} to densedpo.")
    parser.add_argument("--http", type=int, metavar="PORT", help="listen here instead of on standard input")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # prints of the model, also those of C libraries, go to standard error
    sys.stdout = sys.stderr
    score = load(options)
    hello = {"ready": True, "name": name, "scores": scores}
    if options.http is not None:
        _serve_http(hello, score, options.http)
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line, score)), file=answers, flush=True)


def answer(text: str | bytes, score: Score) -> dict[str, Any]:
    """The answer to one request."""
    id = None
    try:
        values = json.loads(text)
        id = values["id"]
        found = {name: float(number) for name, number in score(Request(**values)).items()}
        wrong = [name for name, number in found.items() if not math.isfinite(number)]
        return {"id": id, "error": f"no finite number for {', '.join(wrong)}"} if wrong else {"id": id, "scores": found}
    except Exception as error:  # this video cannot be scored; the next one may
        traceback.print_exc()
        return {"id": id, "error": f"{type(error).__name__}: {error}"}


def _serve_http(hello: dict[str, Any], score: Score, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(hello)

        def do_POST(self) -> None:
            self._send(answer(self.rfile.read(int(self.headers["Content-Length"])), score))

        def _send(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()


@contextlib.contextmanager
def segment_file(request: Request) -> Iterator[str]:
    """A temporary mp4 (H.264, yuv420p, nearly lossless) of just the frames asked for; most models want a file."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    colours = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "segment.mp4")
        with av.open(request.video) as source, av.open(path, "w") as target:
            stream = None
            for number, frame in enumerate(source.decode(video=0)):
                if number >= request.end_frame:
                    break
                if number < request.first_frame:
                    continue
                if stream is None:
                    stream = target.add_stream("libx264", rate=Fraction(request.fps).limit_denominator(1001))
                    stream.width, stream.height = frame.width - frame.width % 2, frame.height - frame.height % 2
                    stream.pix_fmt, stream.options = "yuv420p", {"crf": "4"}
                    stream.codec_context.colorspace = Colorspace.ITU709
                    stream.codec_context.color_range = ColorRange.MPEG
                picture = frame.reformat(width=stream.width, height=stream.height, format="yuv420p", **colours)
                picture.pts = None
                target.mux(stream.encode(picture))
            if stream is None:
                raise ValueError(f"{request.video} has no frame {request.first_frame}")
            target.mux(stream.encode(None))
        yield path
