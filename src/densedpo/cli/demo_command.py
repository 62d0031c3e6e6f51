"""The command that shows the whole loop."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densedpo.cli.command import Result, command, console


@command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for everything the demo makes.")] = Path("demo"),
    quick: Annotated[bool, Parameter(negative="", help="A small one, in about two minutes.")] = False,
) -> Result:
    """Run the whole loop on the embedded tiny world."""
    from densedpo.demo import FULL, QUICK, run_demo

    page = run_demo(out, QUICK if quick else FULL, lambda text: console.print(text, markup=False))
    console.print(f"look at {page}", markup=False)
    return {"page": page, "summary": page.with_name("summary.json")}
