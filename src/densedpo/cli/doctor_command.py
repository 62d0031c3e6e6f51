"""The command `doctor`. It imports little, so that it also works where the installation is broken."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from densedpo import __version__
from densedpo.cli.command import Result, command, console
from densedpo.doctor import examine


@command
def doctor(*, folder: Annotated[Path, Parameter(help="Where to look for free disk space.")] = Path()) -> Result:
    """Print what is installed, what is missing, and how to get it."""
    checks = examine(folder)
    table = Table("what", "for", "found", title=f"densedpo {__version__}", title_justify="left")
    for check in checks:
        found = escape(check.found) if check.found else f"[red]missing[/]: {escape(check.remedy)}"
        table.add_row(check.name, check.purpose, found)
    console.print(table)
    rows = {check.name: {"found": check.found, "remedy": None if check.found else check.remedy} for check in checks}
    return {"densedpo": __version__, "checks": rows}
