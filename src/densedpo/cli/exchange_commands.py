"""The commands by which labels leave a project and come into one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.labels.imported import import_label_studio, import_rewardbench
from densedpo.store.exchange import export_opinions, export_rewardbench, export_trl, import_opinions
from densedpo.store.project import Project

BY_NAME: dict[str, Literal["parquet", "jsonl", "rewardbench"]]
BY_NAME = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "rewardbench"}


class LabelExportSettings(Settings):
    """Where to, and as what."""

    to: Path = Field(description="The file to write; one that is there is replaced.")
    format: Literal["parquet", "jsonl", "rewardbench", "trl"] | None = Field(
        default=None, description="By the file's name if not given: .parquet, .jsonl, .csv (rewardbench)."
    )


class LabelImportSettings(Settings):
    """What the file is."""

    format: Literal["parquet", "jsonl", "rewardbench", "label-studio"] | None = Field(
        default=None, description="By the file's name if not given: .parquet, .jsonl, .csv (rewardbench)."
    )
    videos: Path | None = Field(default=None, description="Folder of the videos that the file names.")


@command
def label_export(project: ProjectFolder, settings: LabelExportSettings) -> Result:
    """Write the labels of a project to one file. Parquet and JSONL lose nothing; the others say what they lose."""
    format, opened = settings.format or _by_name(settings.to), Project.open(project)
    if format in ("parquet", "jsonl"):
        done = export_opinions(opened, settings.to, format)
        console.print(f"{settings.to}: {done.labels} labels, superseded ones too (`stands` tells)", markup=False)
        return {"file": settings.to, **asdict(done)}
    report = (export_trl if format == "trl" else export_rewardbench)(opened, settings.to)
    console.print(f"{settings.to}: {report.pairs} pairs; paths in it start at {project}", markup=False)
    for line in report.lost:
        console.print(f"lost: {line}", markup=False)
    return {"file": settings.to, **asdict(report)}


@command
def label_import(
    project: ProjectFolder,
    file: Annotated[Path, Parameter(help="The file to take labels from.")],
    settings: LabelImportSettings,
) -> Result:
    """Add the labels of a file, and the pairs that they are about. What is here with other content stays as it is."""
    format, opened = settings.format or _by_name(file), Project.open(project)
    if format in ("parquet", "jsonl"):
        report = import_opinions(opened, file, format)
    else:
        take = import_rewardbench if format == "rewardbench" else import_label_studio
        report = take(opened, file, settings.videos)
    for line in report.told:
        console.print(line, markup=False)
    for line in report.notes:
        console.print(f"note: {line}", markup=False)
    added = f"{report.labels} labels, {report.pairs} pairs and {report.clips} clips added, {report.known} labels known"
    console.print(f"{project}: {added}; {report.conflicts or 'no'} conflicts", markup=False)
    return {"ok": not report.conflicts, **asdict(report)}


def _by_name(file: Path) -> Literal["parquet", "jsonl", "rewardbench"]:
    if file.suffix not in BY_NAME:
        raise UserError(f"{file}: its name does not tell the format; add --format")
    return BY_NAME[file.suffix]
