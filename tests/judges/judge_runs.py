"""Runs of a judge on a project, for all tests that need them."""

from pathlib import Path
from typing import Any

import yaml
from cyclopts import App
from judge_server import JudgeServer

from densedpo.cli.vlm_commands import label_vlm as command
from densedpo.labels import VlmLabelReport, VlmLabelSettings, label_vlm
from densedpo.store.project import Project


def judge_file(folder: Path, server: JudgeServer, **settings: Any) -> str:
    """A file of judge settings for this server; its path."""
    path = folder / "judge.yaml"
    path.write_text(yaml.safe_dump({"base_url": server.url, "model": "measured", "timeout": 5, **settings}))
    return str(path)


def run(project: Project, server: JudgeServer, **settings: Any) -> VlmLabelReport:
    return label_vlm(project, VlmLabelSettings(judge=judge_file(project.root.parent, server, **settings)))


def run_command(project: Project, *words: str) -> None:
    app = App()
    app.default(command)
    app([str(project.root), *words], exit_on_error=False, print_error=False, result_action="return_value")


def choices(project: Project, aspect: str = "overall") -> dict[tuple[str, int | None], str]:
    return {(label.pair, label.segment): label.choice for label in project.labels() if label.aspect == aspect}
