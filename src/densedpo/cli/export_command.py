"""The command `export`: an adapter for other programs."""

from dataclasses import asdict

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.export import ExportSettings
from densedpo.store.project import Project


@command
def export(project: ProjectFolder, settings: ExportSettings) -> Result:
    """Take the adapter of a finished training run to diffusers or ComfyUI, with a model card."""
    from densedpo.export.run import export as take  # loads torch

    exported = take(Project.open(project), settings)
    console.print(f"{exported.weights}: the adapter of {settings.run}, for {settings.format}", markup=False)
    if exported.card_kept:
        console.print(f"{exported.card} was there, with changes of yours: it is left as it is", markup=False)
    else:
        console.print(f"{exported.card}: its model card; add a licence before you publish it", markup=False)
    return asdict(exported)
