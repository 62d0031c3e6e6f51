"""The command `models`: which models can be trained."""

from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from densedpo.cli.command import Result, command, console


@command
def models() -> Result:
    """List the families of models, their sizes, the clips they take, and what was proven of each."""
    from densedpo.models.load import described_families  # loads torch

    found = described_families()
    table = Table(show_lines=True)
    for title in ("family", "checkpoints", "frames", "width and height"):
        table.add_column(title, overflow="fold")
    for family in found:
        cells = (family.name, "\n".join(family.sizes), family.frame_rule, family.size_rule)
        table.add_row(*map(escape, cells))
    console.print(table)
    console.print(
        "frames: 1 + 4k means 5, 9, 13, ...; another number, or another size, is refused with the nearest that fit\n"
    )
    console.print("what was proven of each, by its pipeline class in model_index.json:")
    for family in found:
        proven = family.proven or "nothing is said of what was proven"
        console.print(f"{family.name} ({', '.join(family.pipelines)}): {proven}", markup=False)
    console.print(
        "next: densedpo plan FOLDER-OR-HUB-ID, then densedpo init PROJECT --model FOLDER-OR-HUB-ID ...", markup=False
    )
    return {"families": [asdict(family) for family in found]}
