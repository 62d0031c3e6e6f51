"""How fast clips are decoded and measured: `python benchmarks/metrics.py --size 832x480 --frames 121 --repeats 3`.

Prints ratios from one run. Decoding: time of a bare PyAV loop (frames to RGB arrays) over that of `read_video`, with
PyAV's own quick conversion of colours, which gives other pixels, and with the exact one, which gives the same; for a
clip as models write them and for one of our own, which are lossless RGB. Measuring: time of the
weights-free metrics when each decodes for itself over their time on one shared decode, for what an evaluation does with
one shot: a base clip, two tuned ones, and the real clip that guided them. Processor time, so that a busy machine
changes little; the video decoder's threads count. Several processes: wall time of scoring `--shots` such shots in one
process over that in two, the start of both included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from scipy.ndimage import gaussian_filter

from densedpo.evaluation.workers import Task, Workers, look
from densedpo.metrics import Footage, Metric, Tools, UnmeasurableError, find_metrics
from densedpo.video.io import SCALING, Frames, read_video, write_video

FPS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shots", type=int, default=8)
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    print(f"{asked.frames} frames of {asked.size} at {FPS} a second, H.264, yuv420p; best of {asked.repeats}")
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"{name}.mp4" for name in ("guide", "base", "tuned", "tuned-2")]
        for seed, clip in enumerate(clips):
            encode(clip, picture(width, height, asked.frames, seed))
        lossless = Path(folder) / "lossless.mp4"
        write_video(lossless, read_video(clips[0])[0], FPS)
        decoding("H.264, yuv420p", clips[0], asked.repeats)
        decoding("lossless RGB", lossless, asked.repeats)
        measuring(clips, asked.repeats)
        if asked.shots:
            in_processes(clips, asked.shots)


def decoding(kind: str, clip: Path, repeats: int) -> None:
    """Bare PyAV against `read_video`, turn by turn, so that a busy machine slows both."""
    quick, exact, ours = turns(
        [lambda: bare_frames(clip), lambda: bare_frames(clip, SCALING), lambda: read_video(clip)], repeats
    )
    frames = read_video(clip)[0]
    assert np.array_equal(bare_frames(clip, SCALING), frames), "the exact conversion gives other pixels"
    other = np.abs(bare_frames(clip).astype(np.int16) - frames)
    print(f"decoding {kind}: read_video {ours:.3f} s")
    print(f"  bare PyAV, the same pixels, {exact:.3f} s, ratio {exact / ours:.2f} (wanted: 0.9 or more)")
    print(
        f"  bare PyAV, its quick conversion, {quick:.3f} s, ratio {quick / ours:.2f}; "
        f"{(other > 0).mean():.0%} of its values differ, by up to {other.max()} of 255"
    )


def measuring(clips: list[Path], repeats: int) -> None:
    """Every metric with a decode of its own against all metrics on one."""
    metrics = [metric for name, metric in find_metrics().items() if not metric.needs and metric.packages == ("cv2",)]
    metrics.append(find_metrics()["temporal_flickering"])

    def measure(wanted: list[Metric], footages: list[Footage]) -> None:
        for footage in footages:
            for metric in wanted:
                try:
                    metric.measure(footage, Tools())
                except UnmeasurableError:
                    assert footage.partner is None, "only the base clip may lack a value: its motion similarity"

    apart, together = turns(
        [lambda: [measure([m], shot(clips)) for m in metrics], lambda: measure(metrics, shot(clips))], repeats
    )
    print(f"{len(metrics)} metrics of {len(clips) - 1} clips: {', '.join(metric.name for metric in metrics)}")
    print(
        f"measuring: metric by metric {apart:.2f} s, on one decode {together:.2f} s, ratio {apart / together:.1f} "
        "(wanted: 4 or more)"
    )


def in_processes(clips: list[Path], shots: int) -> None:
    """One process against two, by the wall, as an evaluation scores."""
    metrics, tools = find_metrics(), Tools()
    names = [name for name, metric in metrics.items() if not metric.needs and metric.packages == ("cv2",)]
    videos = {name: str(clip) for name, clip in zip(("base", "tuned", "tuned-2"), clips[1:], strict=True)}
    task = Task(videos, None, str(clips[0]), {name: names for name in videos})
    began = time.monotonic()
    alone = [look(task, metrics, tools) for _ in range(shots)]
    middle = time.monotonic()
    with Workers(2) as workers:
        together = [said for _, said in workers.look([task] * shots)]
    end = time.monotonic()
    assert alone == together, "two processes found other numbers"
    print(
        f"{shots} shots: one process {middle - began:.1f} s, two {end - middle:.1f} s by the wall, "
        f"ratio {(middle - began) / (end - middle):.2f}"
    )


def shot(clips: list[Path]) -> list[Footage]:
    """Fresh footage, nothing decoded yet: the base clip, and the tuned ones whose partner it is."""
    guide = Footage(clips[0])
    base = Footage(clips[1], None, guide)
    return [base, *(Footage(clip, None, guide, base) for clip in clips[2:])]


def turns(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """The best time of each piece of work in seconds."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            began = time.process_time()
            work()
            best[i] = min(best[i], time.process_time() - began)
    return best


def bare_frames(path: Path, interpolation: Interpolation | None = None) -> Frames:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        options = {} if interpolation is None else {"interpolation": interpolation}
        converter = VideoReformatter()
        frames = (converter.reformat(frame, format="rgb24", **options) for frame in container.decode(stream))
        return np.stack([frame.to_ndarray() for frame in frames])


def picture(width: int, height: int, count: int, seed: int) -> Frames:
    """A smooth texture that slides two pixels a frame."""
    rough = np.random.default_rng(seed).normal(size=(height, width + 2 * count, 3))
    smooth = gaussian_filter(rough, (3, 3, 0))
    texture = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    return np.stack([texture[:, 2 * i : 2 * i + width] for i in range(count)])


def encode(path: Path, frames: Frames) -> None:
    """As generated clips usually come: H.264, quality 18, a key frame now and then."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for array in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
