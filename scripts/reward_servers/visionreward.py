"""Serve VisionReward-Video (arXiv 2412.21059). NEVER RUN WITH REAL WEIGHTS HERE: written from its published code.

    git clone https://github.com/THUDM/VisionReward && pip install -r visionreward.requirements.txt
    densedpo label reward PROJECT --scorer visionreward --start-timeout 1800 --timeout 600 \
        --command "/path/to/its/python scripts/reward_servers/visionreward.py --repo VisionReward"

Runs the repository's `inference-video.py`, whose `score(video, prompt)` asks a list of yes-no questions and adds up the
answers with the makers' weights. That script looks at one frame a second: of a segment of one second it sees the first
and the last frame, and hardly any motion. `--slow-down 8` plays the segment eight times slower, so that it sees eight
frames of each second; the makers never tried that, and a slow video may look still to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os

from serve import Request, Score, segment_file, serve


def load(options: argparse.Namespace) -> Score:
    """Load the model as the makers' script does."""
    repo = os.path.abspath(options.repo)
    os.chdir(repo)  # the makers' script finds its questions and weights from there
    spec = importlib.util.spec_from_file_location("makers", os.path.join(repo, "inference-video.py"))
    assert spec is not None and spec.loader is not None
    makers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(makers)  # loads the model

    def score(request: Request) -> dict[str, float]:
        with segment_file(dataclasses.replace(request, fps=request.fps / options.slow_down)) as path:
            return {"overall": makers.score(path, request.caption)}

    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve VisionReward-Video to densedpo.")
    parser.add_argument("--repo", required=True, help="the cloned repository")
    parser.add_argument("--slow-down", type=float, default=1.0, help="how many times slower the segment is played")
    serve("visionreward", ["overall"], load, parser)
