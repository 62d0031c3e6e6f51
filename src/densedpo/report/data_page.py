"""The page about clips and pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from densedpo.report.data_figures import MOST_MEASURED
from densedpo.report.histogram import bars
from densedpo.report.media import pair_cards
from densedpo.report.subject import Subject

PAIRS_SHOWN = 12
DYNAMIC = 0.1875  # motion strength above which VBench calls a clip dynamic (see metrics/motion_strength.py)


def data_page(subject: Subject, out: Path) -> dict[str, Any]:
    """Histograms, and sample pairs: labelled ones first, in id order; ids are hashes, so nobody picked them."""
    clips, pairs = subject.figures["clips"], subject.figures["pair_set"]
    shown = sorted(subject.outcomes, key=lambda view: not view.labelled)[:PAIRS_SHOWN]
    return {
        "motion": bars(clips["motion"]["strength"], "clips", DYNAMIC),
        "dynamic": DYNAMIC,
        "most_measured": MOST_MEASURED,
        "eta": bars(pairs["eta"], "pairs"),
        "distance": bars(pairs["distance"], "pairs"),
        "cards": list(pair_cards(subject.project, shown, out)),
    }
