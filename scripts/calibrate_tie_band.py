"""Find the tie band at which about a third of the simulated annotator's labels of whole clips are decisive.

    python scripts/calibrate_tie_band.py PROJECT [--mode guided] [--share 0.333]

Looks at the pairs of a tiny-world project (near-identical ones left out, as when labelling) with the annotator's noise
and sensitivity as shipped, and prints the band, and what share of segments is decisive with it. It changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from densedpo.errors import UserError
from densedpo.judges.oracle import OracleAnnotator, OracleAnnotatorSettings
from densedpo.store.project import Project
from densedpo.store.segments import segment_grid
from densedpo.tinyworld.oracle import ClipScores, score_clip
from densedpo.video.io import read_video


@dataclass(frozen=True)
class Calibration:
    """A tie band, and what is decisive with it; shares in [0, 1]."""

    pairs: int
    tie_band: float
    whole: float  # of the pairs' labels of whole clips
    segments: float  # of all labels of segments
    any_segment: float  # of the pairs: at least one decisive segment
    mixed: float  # of the pairs: a decisive segment for either clip


def calibrate(pairs: Iterable[tuple[str, ClipScores, ClipScores]], share: float) -> Calibration:
    """The band at which `share` of whole clips are decisive, from (pair id, scores of a, scores of b) of each pair.

    A label is decisive if its noisy margin is beyond the band, so the band is a quantile of the margins' sizes.
    """
    annotator = OracleAnnotator(OracleAnnotatorSettings())
    whole, segments = [], []
    for pair_id, a, b in pairs:
        whole.append(annotator.decide(pair_id, a.whole, b.whole, None).margin)
        parts = enumerate(zip(a.segments, b.segments, strict=True))
        segments.append([annotator.decide(pair_id, x, y, index).margin for index, (x, y) in parts])
    band = float(np.quantile(np.abs(whole), 1 - share))
    margins_PS = np.array(segments)  # P pairs, S segments
    decisive_PS = np.abs(margins_PS) > band
    return Calibration(
        pairs=len(whole),
        tie_band=band,
        whole=float(np.mean(np.abs(whole) > band)),
        segments=float(decisive_PS.mean()),
        any_segment=float(decisive_PS.any(axis=1).mean()),
        mixed=float(((margins_PS > band).any(axis=1) & (margins_PS < -band).any(axis=1)).mean()),
    )


def scored_pairs(project: Project, mode: str) -> Iterable[tuple[str, ClipScores, ClipScores]]:
    """The oracle's scores of both clips of every pair of one mode that is not near-identical."""
    for pair in project.pairs(mode=mode):
        if not pair.near_identical:
            grid = segment_grid(pair.frames, pair.fps, project.settings.segment_seconds)
            spans = [(segment.first_frame, segment.end_frame) for segment in grid]
            clips = [read_video(project.media_path(media))[0] for media in (pair.media_a, pair.media_b)]
            a, b = (score_clip(frames, pair.prompt, spans) for frames in clips)
            yield pair.id, a, b


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--mode", choices=["guided", "independent"], default="guided")
    parser.add_argument("--share", type=float, default=1 / 3, help="of the labels of whole clips to be decisive")
    args = parser.parse_args()
    try:
        pairs = list(scored_pairs(Project.open(args.project), args.mode))
    except UserError as error:
        parser.error(str(error))
    if not pairs:
        parser.error(f"{args.project} has no {args.mode} pairs that differ; make some with `densedpo pairs`")
    found = calibrate(pairs, args.share)
    print(f"{found.pairs} {args.mode} pairs: tie band {found.tie_band:.4f} for {found.whole:.1%} decisive whole clips")
    print(f"decisive segments: {found.segments:.1%}; pairs with one: {found.any_segment:.1%}; mixed: {found.mixed:.1%}")


if __name__ == "__main__":
    main()
