"""The page about labels and those who gave them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from densedpo.report.labellers import share_of
from densedpo.report.subject import Subject


def labels_page(subject: Subject, out: Path) -> dict[str, Any]:
    """Outcomes, labellers, agreement; a page that `densedpo agreement` wrote comes along into the folder."""
    labelled = [view for view in subject.outcomes if view.labelled]
    return {
        "mixed": share_of(sum(view.mixed for view in labelled), len(labelled)),
        "agreement": _agreement(subject, out),
    }


def _agreement(subject: Subject, out: Path) -> dict[str, Any] | None:
    """What the agreement run found, whether the labels are still those it saw, and where its own page is."""
    run = subject.agreement
    if run is None:
        return None
    found = json.loads((run.folder / "agreement.json").read_text("utf-8"))
    page = run.folder / "agreement.html"
    if page.exists():
        (out / "agreement").mkdir(exist_ok=True)
        shutil.copyfile(page, out / "agreement" / "agreement.html")
        if (run.folder / "media").is_dir():
            shutil.copytree(run.folder / "media", out / "agreement" / "media", dirs_exist_ok=True)
    return {
        "run": run.name,
        "current": found["fingerprint"] == subject.project.fingerprint(),
        "page": "agreement/agreement.html" if page.exists() else None,
        "reference": found["settings"]["reference"],
        "against": found["against_reference"],
    }
