"""The command by which people label pairs."""

from densedpo.annotate import AnnotateSettings
from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.errors import UserError
from densedpo.store.project import Project


@command
def annotate(project: ProjectFolder, settings: AnnotateSettings) -> Result:
    """Serve the page on which people label pairs, until it is stopped with Ctrl-C."""
    try:
        from densedpo.annotate.arena import open_arena, write_choices
        from densedpo.annotate.serve import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"labelling in the browser needs the package {error.name}; pip install 'densedpo[annotate]'"
        ) from None

    def announce(address: str, link: str | None) -> None:
        console.print(f"{project}: labelling at {address}; every choice is saved as it is made", markup=False)
        if link:
            console.print(f"the lead's link (a new one at each start): {link}", markup=False)

        console.file.flush()  # whoever reads a pipe waits for these lines

    opened = Project.open(project)
    if settings.arena is None and settings.between is None:
        serve(opened, settings, announce)
        return {"project": project}
    if settings.arena is None or settings.between is None:
        raise UserError("an arena needs both --arena RUN and --between A,B")
    arena = open_arena(opened, settings.arena, settings.between)
    try:
        serve(arena, settings.model_copy(update={"mode": "whole"}), announce)
    finally:
        console.print(f"what people chose is in {write_choices(arena)}", markup=False)
    return {"project": arena.root}
