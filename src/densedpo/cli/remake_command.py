"""The command that makes one clip of an evaluation again."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.errors import UserError
from densedpo.report import newest_run
from densedpo.store.project import Project


@command
def remake(
    project: ProjectFolder,
    clip: Annotated[str, Parameter(help="The clip, as it lies under the evaluation's clips: dense/0003-1.")],
    *,
    evaluation: Annotated[str | None, Parameter(help="Its evaluation; the newest if not given.")] = None,
    out: Annotated[Path | None, Parameter(help="File to write. [default: CONTESTANT-PPPP-S.mp4]")] = None,
) -> Result:
    """Make one clip of an evaluation again, and say whether it is the same."""
    from densedpo.evaluation.remake import remake as make_again  # loads torch

    opened = Project.open(project)
    name = evaluation or newest_run(opened, "evaluation")
    if name is None:
        raise UserError(f"{project} has no evaluation yet; make one with `densedpo evaluate`")
    made = make_again(opened, name, clip, out or Path(f"{clip.removesuffix('.mp4').replace('/', '-')}.mp4"))
    told = {
        None: "the evaluation's own clip is not there to compare it with",
        0: f"equal to {made.clip} in every pixel",
    }.get(made.largest, f"differs from {made.clip} by up to {made.largest} of 255")
    console.print(f"{made.path}: {told}", markup=False)
    return {"path": made.path, "clip": made.clip, "largest": made.largest}
