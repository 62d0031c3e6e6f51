"""The command by which people label pairs."""

from densedpo.annotate import AnnotateSettings
from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.errors import UserError
from densedpo.store.project import Project


@command
def annotate(project: ProjectFolder, settings: AnnotateSettings) -> Result:
    """Serve the page on which people label pairs, until it is stopped with Ctrl-C."""
    try:
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

    serve(Project.open(project), settings, announce)
    return {"project": project}
