"""The commands that make a project and bring things into it."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.cli.shapes import listed_shapes, tell_shapes
from densedpo.errors import UserError
from densedpo.ingest import IngestSettings, Rejection, asked_shapes, preview
from densedpo.ingest import ingest as ingest_folder
from densedpo.store.checks import validate as find_problems
from densedpo.store.merge import merge as merge_projects
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.shapes import shape_of

MODEL_DEPENDS = ("width", "height", "frames", "fps")  # their defaults are those of the embedded model


@command
def init(project: ProjectFolder, settings: ProjectSettings) -> Result:
    """Make a project, or confirm that the one there has these settings."""
    missing = [f"--{name}" for name in MODEL_DEPENDS if name not in settings.model_fields_set]
    if settings.model != "tinyworld" and missing:
        raise UserError(f"give {', '.join(missing)} as the model {settings.model} wants them; its card says which fit")
    made = Project.create(project, settings)
    shape = f"{settings.width}x{settings.height}, {settings.frames} frames at {settings.fps:g} fps"
    console.print(f"{made.root}: a project for {settings.model}, {shape}", markup=False)
    console.print(f"next: densedpo ingest {project} FOLDER-OF-CLIPS", markup=False)
    return {"project": project, "settings": settings.model_dump(mode="json")}


@command
def ingest(
    project: ProjectFolder,
    folder: Annotated[Path, Parameter(help="Videos, each with a .txt beside it, or with one metadata file for all.")],
    settings: IngestSettings,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Say which clips would be there; take none.")] = False,
) -> Result:
    """Take the clips of `folder`; files that cannot be taken are listed with the reason."""
    opened = Project.open(project)
    _check_shapes(opened, settings)
    if dry_run:
        shapes, rejected = preview(opened, folder, settings)
        _tell_rejected(rejected)
        tell_shapes(project, shapes, "clips")
        return {"shapes": listed_shapes(shapes), "rejected": rejected}
    report = ingest_folder(opened, folder, settings)
    _tell_rejected(report.rejected)
    shapes = Counter(shape_of(clip) for clip in opened.clips())
    if len(shapes) > 1:
        tell_shapes(project, shapes, "clips")
    counts = f"{report.added} clips added, {report.known} were there, {len(report.rejected)} files not taken"
    console.print(f"{project}: {counts}", markup=False)
    return asdict(report)


def _check_shapes(project: Project, settings: IngestSettings) -> None:
    """Refuse sizes and lengths that the project's model cannot take; without torch, `densedpo pairs` will."""
    if settings.sizes is None and settings.frames is None:
        return
    with suppress(ModuleNotFoundError):
        from densedpo.plan.sizes import check_sizes  # loads torch

        check_sizes(project.settings.model, asked_shapes(project, settings))


def _tell_rejected(rejected: Iterable[Rejection]) -> None:
    for rejection in rejected:
        console.print(f"not taken: {rejection.file}: {rejection.reason}", markup=False)


@command
def validate(
    project: ProjectFolder,
    *,
    deep: Annotated[bool, Parameter(help="Also read every file and compare its digest.", negative="")] = False,
) -> Result:
    """Print every problem of the project, each with its remedy; the exit code is 2 if there is one."""
    problems = find_problems(Project.open(project), deep)
    for problem in problems:
        console.print(problem.message, markup=False)
    console.print(f"{project}: {len(problems) or 'no'} problems", markup=False)
    return {"ok": not problems, "problems": [asdict(problem) for problem in problems]}


@command
def merge(
    project: ProjectFolder, other: Annotated[Path, Parameter(help="The project to take rows and files from.")]
) -> Result:
    """Take the rows and files of `other`. A row that is here with other content is a conflict, and stays as it is."""
    report = merge_projects(Project.open(project), Project.open(other))
    for conflict in report.conflicts:
        console.print(conflict.message, markup=False)
    added = ", ".join(f"{count} {kind}s" for kind, count in report.added.items())
    console.print(f"{project}: {added} added; {len(report.conflicts) or 'no'} conflicts", markup=False)
    return {"ok": not report.conflicts, **asdict(report)}
