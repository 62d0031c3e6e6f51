"""Serve one of densedpo's own scorers that need no weights: an example of the contract, and what its test runs.

    python scripts/reward_servers/weights_free.py --scorer sharpness

Here more is always better: a scorer whose number is better when lower is served with its sign turned.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from serve import Request, Score, serve

from densedpo.judges.scorers import PixelScorer, Shown, find_scorer


def overall(scorer: PixelScorer, request: Request) -> float:
    """The scorer's number for the frames asked for, more being better."""
    shown = Shown(request.id, Path(request.video), request.caption, request.first_frame, request.end_frame, request.fps)
    return scorer.about.sign * scorer.score(shown)


def load(options: argparse.Namespace) -> Score:
    """The scorer that was asked for."""
    scorer = find_scorer(options.scorer)
    return lambda request: {"overall": overall(scorer, request)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve one of densedpo's scorers that need no weights.")
    parser.add_argument("--scorer", default="sharpness")
    serve("weights-free", ["overall"], load, parser)
