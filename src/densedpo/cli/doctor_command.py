"""The command `doctor`. It imports little, so that it also works where the installation is broken."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from densedpo import __version__
from densedpo.cli.command import Result, command, console
from densedpo.doctor import examine
from densedpo.errors import UserError


@command
def doctor(
    *,
    folder: Annotated[Path, Parameter(help="Where to look for free disk space.")] = Path(),
    world: Annotated[
        bool, Parameter(negative="", help="Measure the gates of the tiny model instead: minutes, not seconds.")
    ] = False,
    out: Annotated[Path | None, Parameter(help="With --world: a folder for gates.json and sample sheets.")] = None,
    quick: Annotated[
        bool, Parameter(negative="", help="With --world: a few clips only, to see that it works; decides nothing.")
    ] = False,
) -> Result:
    """Print what is installed, what is missing, and how to get it; or whether the tiny model meets its gates."""
    if world:
        return _gates(out, quick)
    if out is not None or quick:
        raise UserError("--out and --quick say how to measure the gates: give --world as well")
    checks = examine(folder)
    table = Table("what", "for", "found", title=f"densedpo {__version__}", title_justify="left")
    for check in checks:
        found = escape(check.found) if check.found else f"[red]missing[/]: {escape(check.remedy)}"
        table.add_row(check.name, check.purpose, found)
    console.print(table)
    rows = {check.name: {"found": check.found, "remedy": None if check.found else check.remedy} for check in checks}
    return {"densedpo": __version__, "checks": rows}


def _gates(out: Path | None, quick: bool) -> Result:
    try:
        from densedpo.gates.measure import FULL, QUICK, measure_gates
        from densedpo.gates.table import gate_table
        from densedpo.models.load import TINYWORLD, load_model
    except ModuleNotFoundError as error:
        raise UserError(f"the gates need {error.name}, which is missing: pip install 'densedpo[train]'") from error
    report = measure_gates(load_model(TINYWORLD), QUICK if quick else FULL, out)
    console.print(gate_table(report.gates, f"gates of the tiny world's model {report.facts['model_hash']}"))
    console.print(f"{report.result['held']} of {report.result['gates']} gates held, {report.facts['seconds']} s")
    if out is not None:
        console.print(f"table and sample sheets are in {out}", markup=False)
    return report.result
