"""The commands that say what training has changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.cli.model_commands import AS_PUBLISHED, Loading
from densedpo.evaluation import EvaluateSettings
from densedpo.report import build_report, newest_run
from densedpo.store.project import Project


@command
def evaluate(project: ProjectFolder, settings: EvaluateSettings, *, loading: Loading = AS_PUBLISHED) -> Result:
    """Compare tuned models with the base model from the same noise, or finished clips from anywhere."""
    from densedpo.evaluation.run import evaluate as compare  # loads torch

    result = compare(Project.open(project), settings, loading)
    for name in result.redone:
        console.print(f"{name}: its adapter has changed since, so its videos were made anew", markup=False)
    counts = f"{result.sampled} videos made, {result.known} were there, {result.scored} scored"
    console.print(
        f"{result.folder}: {', '.join(result.contestants)} on {result.prompts} prompts; {counts}", markup=False
    )
    if settings.shard:
        console.print("next: when all parts are done, the same command without --shard scores all videos", markup=False)
        return asdict(result)
    for name, means in result.means.items():
        console.print(f"  {name}: " + ", ".join(f"{key} {mean:.3f}" for key, mean in means.items()), markup=False)
    for name, reason in result.not_run.items():
        console.print(f"  not run: {name}: {reason}", markup=False)
    console.print(f"intervals and comparisons: {result.results}", markup=False)
    console.print(f"next: densedpo report {project} --evaluation {settings.name}", markup=False)
    return asdict(result)


@command
def report(
    project: ProjectFolder,
    *,
    out: Annotated[Path | None, Parameter(help="Folder of the report. [default: PROJECT/report]")] = None,
    train_run: Annotated[str | None, Parameter(help="Training run to show; the newest if not given.")] = None,
    evaluation: Annotated[str | None, Parameter(help="Evaluation to show; the newest if not given.")] = None,
) -> Result:
    """Write the report of a project: data, labels, training and results, on pages that need no server."""
    opened = Project.open(project)
    training = train_run or newest_run(opened, "training")
    compared = evaluation or newest_run(opened, "evaluation")
    page = build_report(opened, out or project / "report", training, compared)
    console.print(f"{page}: training run {training or '(none)'}, evaluation {compared or '(none)'}", markup=False)
    return {"page": page, "train_run": training, "evaluation": compared}
