"""The report's folder: every page, the shell that they share, and summary.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from densedpo.errors import UserError
from densedpo.files import write_text_atomic
from densedpo.report import charts, words
from densedpo.report.data_page import data_page
from densedpo.report.labels_page import labels_page
from densedpo.report.media import sweep
from densedpo.report.overview_page import overview_page
from densedpo.report.results_page import results_page
from densedpo.report.subject import Builder, Subject
from densedpo.report.summary import gather
from densedpo.report.training_page import training_page
from densedpo.store.project import Project

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = ("report.css", "report.js")


def _results(subject: Subject, out: Path) -> dict[str, Any] | None:
    return results_page(subject.project, subject.evaluation, out) if subject.evaluation else None


PAGES: tuple[tuple[str, str, Builder], ...] = (
    ("index.html", "Overview", overview_page),
    ("data.html", "Data", data_page),
    ("labels.html", "Labels", labels_page),
    ("training.html", "Training", training_page),
    ("results.html", "Results", _results),
)


def build_report(
    project: Project,
    out: Path,
    training_run: str | None = None,
    evaluation_run: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the pages, `media/`, their style and scripts, and `summary.json` into the folder `out`.

    Returns `index.html`. The folder needs nothing else: it can be copied, zipped, and opened without a server or a
    network. `extra` may hold `seconds` (stage → seconds), `versions` (package → version), and `commands` (the lines
    that made all this).
    """
    if (out / "project.yaml").exists():
        raise UserError(f"{out} is a project folder; give the report a folder of its own, such as {out / 'report'}")
    subject = gather(project, training_run, evaluation_run, extra or {})
    (out / "media").mkdir(parents=True, exist_ok=True)
    built = [(file, title, build(subject, out)) for file, title, build in PAGES]
    pages = [(file, title) for file, title, context in built if context is not None]
    shared = {"name": project.root.resolve().name, "pages": pages, "figures": subject.figures}
    environment = _environment()
    texts = {
        file: environment.get_template(file).render(shared | {"page": file} | context)
        for file, _, context in built
        if context is not None
    }
    for name in ASSETS:
        shutil.copyfile(TEMPLATES / name, out / name)
    summary = json.dumps(subject.figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_atomic(out / "summary.json", summary)
    for file, text in texts.items():
        write_text_atomic(out / file, text)
    for file in {file for file, _, _ in PAGES} - texts.keys():
        (out / file).unlink(missing_ok=True)  # of an earlier report, which had more pages
    sweep(out, texts.values())
    return out / "index.html"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, chart=charts)
    environment.filters.update(number=words.number, percent=words.percent, duration=words.duration)
    environment.filters.update(count=words.thousands)
    return environment
